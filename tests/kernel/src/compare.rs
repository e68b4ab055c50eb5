//! What the kernel counted against what the load counted: equal to the unit, or a list of what differs.

use anyhow::{Result, bail};
use serde_json::Value;
use stemedb_ebpf::ops::OPS;
use stemedb_workload::Tally;

use crate::agent::{Status, Syncs};

/// Fails with every row that differs, or with every loss that the agent reports.
pub fn equal(status: &Status, tally: &Tally) -> Result<()> {
    equal_but_for(status, tally, &[])
}

/// The same where these losses have to be reported, and no others; a number that is 0 stands for none.
pub fn equal_but_for(status: &Status, tally: &Tally, losses: &[(&str, u64)]) -> Result<()> {
    let mut wrong = differences(status, tally)?;
    let msyncs = if status.is_on("msync_file") { 0 } else { msyncs(&serde_json::to_value(tally)?) };
    let mut expected: Vec<_> =
        losses.iter().copied().chain([("msync_file", msyncs)]).filter(|(_, n)| *n != 0).collect();
    expected.sort_unstable();
    wrong.extend(races(status));
    wrong.extend(undivided(status));
    let losses: Vec<_> = status.losses().into_iter().filter(|(reason, _)| *reason != RACE).collect();
    if losses != expected {
        wrong.push(format!("lost {losses:?} instead of {expected:?}"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("the kernel and the load counted differently:\n  {}", wrong.join("\n  "))
}

/// The loss that no load can foresee (docs/adr/0003).
const RACE: &str = "group_race";

/// Each group of writes has a flush latency, but for those that are said to be lost, which are rare.
fn races(status: &Status) -> Option<String> {
    let groups: u64 = status.writes.iter().map(|series| series.group_writes.filled()).sum();
    let flushes: u64 = status.writes.iter().map(|series| series.flush.count()).sum();
    let lost = status.lost.get(RACE).copied().unwrap_or(0);
    let right = flushes + lost == groups && lost <= 1 + groups / 1000;
    (!right).then(|| format!("{groups} groups of writes, {flushes} flush latencies, {RACE} {lost}"))
}

/// Sync calls whose phases are not together what they took.
fn undivided(status: &Status) -> impl Iterator<Item = String> {
    let sum = |series: &Syncs| series.phases_ns.values().sum::<u64>();
    let wrong = status.series.iter().filter(move |series| sum(series) != series.sum_ns);
    wrong.map(|series| format!("{} {}: {} ns in phases {:?}", series.class, series.op, series.sum_ns, series.phases_ns))
}

/// The rows that differ.
pub fn differences(status: &Status, tally: &Tally) -> Result<Vec<String>> {
    let mut truth = serde_json::to_value(tally)?;
    let mut wrong = Vec::new();
    if !status.is_on("msync_file") {
        forget_files_of_msyncs(&mut truth);
    }
    let seen = status.series.iter().map(|s| s.class.clone()).chain(status.writes.iter().map(|w| w.class.clone()));
    let other = (msyncs(&truth) > 0).then(|| OTHER.to_owned());
    let mut classes: Vec<String> = tally.classes().map(str::to_owned).chain(seen).chain(other).collect();
    classes.sort();
    classes.dedup();
    for class in classes {
        let truth = &truth["classes"][&class];
        for op in OPS {
            for (what, got, expected) in [
                ("calls", status.calls(&class, op.name), number(&truth["calls"][op.name])),
                ("bytes", status.bytes(&class, op.name), number(&truth["bytes"][op.name])),
            ] {
                if got != expected {
                    wrong.push(format!("{class} {} {what}: kernel {got}, load {expected}", op.name));
                }
            }
            wrong.extend(error_differences(status, &class, op.name, &truth["errors"][op.name]));
        }
    }
    Ok(wrong)
}

/// The class of what cannot be told apart.
const OTHER: &str = "other";

/// All calls of `msync` in a load's report.
fn msyncs(truth: &Value) -> u64 {
    let classes = truth["classes"].as_object().into_iter().flat_map(|classes| classes.values());
    classes.map(|class| number(&class["calls"]["msync"])).sum()
}

/// Where the kernel cannot tell the file of an `msync`, all of them belong to class `other`, with their errors.
fn forget_files_of_msyncs(truth: &mut Value) {
    let calls = msyncs(truth);
    let mut errors = serde_json::Map::new();
    for class in truth["classes"].as_object_mut().into_iter().flat_map(|classes| classes.values_mut()) {
        if let Some(calls) = class["calls"].as_object_mut() {
            calls.remove("msync");
        }
        let own = class["errors"].as_object_mut().and_then(|errors| errors.remove("msync"));
        for (name, count) in own.as_ref().and_then(Value::as_object).into_iter().flatten() {
            let sum = errors.get(name).map_or(0, number) + number(count);
            errors.insert(name.clone(), sum.into());
        }
    }
    if calls > 0 {
        truth["classes"][OTHER]["calls"]["msync"] = calls.into();
        truth["classes"][OTHER]["errors"]["msync"] = errors.into();
    }
}

fn error_differences(status: &Status, class: &str, op: &str, truth: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let expected = truth.as_object().unwrap_or(&empty);
    let seen = status.errors.iter().filter(|e| e.class == class && e.op == op).map(|e| e.error.clone());
    let mut names: Vec<String> = expected.keys().cloned().chain(seen).collect();
    names.sort();
    names.dedup();
    let rows = names
        .into_iter()
        .map(|name| (status.failed(class, op, &name), number(&expected.get(&name).cloned().unwrap_or_default()), name));
    rows.filter(|(got, expected, _)| got != expected)
        .map(|(got, expected, name)| format!("{class} {op} {name}: kernel {got}, load {expected}"))
        .collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
