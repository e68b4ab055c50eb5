//! What the agent answers on /status, as far as the demo shows it, and what changed between two answers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use stemedb_ebpf::slots::{self, SLOTS};

/// The classes of the demo, in the order in which they are shown.
pub(crate) const CLASSES: [&str; 2] = ["wal", "store"];

/// An answer of /status. What has no calls is left out of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) series: Vec<Series>,
    pub(crate) writes: Vec<Writes>,
    pub(crate) errors: Vec<Errors>,
    pub(crate) lost: BTreeMap<String, u64>,
}

/// Sync calls.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Series {
    pub(crate) class: String,
    pub(crate) op: String,
    pub(crate) calls: u64,
    pub(crate) max_ns: u64,
    /// Slot and count.
    pub(crate) slots: Vec<(usize, u64)>,
    /// Where the time went, by phase.
    #[serde(default)]
    pub(crate) phases_ns: BTreeMap<String, u64>,
}

/// Writes of a class.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Writes {
    pub(crate) class: String,
    pub(crate) ops: Vec<WriteOp>,
}

/// Writes by one system call.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WriteOp {
    pub(crate) op: String,
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
}

/// Failed calls.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Errors {
    pub(crate) class: String,
    pub(crate) count: u64,
}

/// Latencies of all sync calls of a class.
pub(crate) struct Latency {
    pub(crate) calls: u64,
    pub(crate) max_ns: u64,
    slots: [u64; SLOTS],
}

impl Latency {
    /// A quantile in seconds.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        slots::quantile(&self.slots, q)
    }
}

/// The longest call of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Longest {
    /// In seconds: it is the longest ever.
    Exactly(f64),
    /// In seconds: the bound of its slot.
    AtMost(f64),
}

/// A class in a window of time.
pub(crate) struct Row {
    pub(crate) class: String,
    pub(crate) syncs_per_second: f64,
    /// The median, and the quantiles 0.99 and 0.999, in seconds.
    pub(crate) quantiles: [Option<f64>; 3],
    pub(crate) longest: Option<Longest>,
    pub(crate) writes_per_second: f64,
    pub(crate) bytes_per_second: f64,
    /// Failed calls since the start.
    pub(crate) errors: u64,
}

/// The quantiles that are shown.
pub(crate) const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

impl Status {
    /// Reads an answer.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("cannot read the agent's /status")
    }

    /// The classes with calls: those of the demo first.
    pub(crate) fn classes(&self) -> Vec<&str> {
        let series = self.series.iter().map(|series| series.class.as_str());
        let writes = self.writes.iter().map(|writes| writes.class.as_str());
        let all: BTreeSet<&str> = series.chain(writes).collect();
        let more = all.iter().copied().filter(|class| !CLASSES.contains(class));
        CLASSES.into_iter().chain(more).collect()
    }

    /// Latencies of all sync calls of a class, since the start.
    pub(crate) fn latency(&self, class: &str) -> Latency {
        let mut total = Latency { calls: 0, max_ns: 0, slots: [0; SLOTS] };
        for series in self.series.iter().filter(|series| series.class == class) {
            total.calls += series.calls;
            total.max_ns = total.max_ns.max(series.max_ns);
            for (slot, count) in &series.slots {
                if let Some(sum) = total.slots.get_mut(*slot) {
                    *sum += count;
                }
            }
        }
        total
    }

    /// Calls of one system call on a class, since the start.
    pub(crate) fn calls(&self, class: &str, op: &str) -> u64 {
        let syncs = self.series.iter().filter(|series| series.class == class && series.op == op);
        let writes = self.writes.iter().filter(|writes| writes.class == class).flat_map(|writes| &writes.ops);
        syncs.map(|series| series.calls).chain(writes.filter(|write| write.op == op).map(|write| write.calls)).sum()
    }

    /// Calls and bytes of all writes of a class, since the start.
    pub(crate) fn written(&self, class: &str) -> (u64, u64) {
        let writes = self.writes.iter().filter(|writes| writes.class == class).flat_map(|writes| &writes.ops);
        writes.fold((0, 0), |(calls, bytes), op| (calls + op.calls, bytes + op.bytes))
    }

    /// Where the time of a class's sync calls went since an `earlier` answer: shares by phase, the largest first.
    pub(crate) fn shares(&self, earlier: &Self, class: &str) -> Vec<(String, f64)> {
        let sum = |status: &Self| {
            let mut sums: BTreeMap<String, u64> = BTreeMap::new();
            for (phase, time) in status.series.iter().filter(|s| s.class == class).flat_map(|s| &s.phases_ns) {
                *sums.entry(phase.clone()).or_default() += time;
            }
            sums
        };
        let (before, mut after) = (sum(earlier), sum(self));
        for (phase, time) in &mut after {
            *time = time.saturating_sub(before.get(phase).copied().unwrap_or(0));
        }
        let whole = after.values().sum::<u64>() as f64;
        let mut shares: Vec<_> = after.into_iter().filter(|(_, time)| *time > 0).collect();
        shares.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        shares.into_iter().map(|(phase, time)| (phase, time as f64 / whole)).collect()
    }

    /// Failed calls of a class, since the start.
    fn failed(&self, class: &str) -> u64 {
        self.errors.iter().filter(|errors| errors.class == class).map(|errors| errors.count).sum()
    }

    /// What happened in each class in the `seconds` since an `earlier` answer.
    pub(crate) fn since(&self, earlier: &Self, seconds: f64) -> Vec<Row> {
        let row = |class: &str| {
            let latency = window(&earlier.latency(class), self.latency(class));
            let (before, after) = (earlier.written(class), self.written(class));
            Row {
                class: class.to_owned(),
                syncs_per_second: latency.calls as f64 / seconds,
                quantiles: QUANTILES.map(|q| latency.quantile(q)),
                longest: longest(&latency, earlier.latency(class).max_ns),
                writes_per_second: after.0.saturating_sub(before.0) as f64 / seconds,
                bytes_per_second: after.1.saturating_sub(before.1) as f64 / seconds,
                errors: self.failed(class),
            }
        };
        self.classes().into_iter().map(row).collect()
    }
}

/// The calls between two readings; `max_ns` stays that of the later.
fn window(earlier: &Latency, mut later: Latency) -> Latency {
    later.calls = later.calls.saturating_sub(earlier.calls);
    for (count, before) in later.slots.iter_mut().zip(earlier.slots) {
        *count = count.saturating_sub(before);
    }
    later
}

/// The longest call of a window, from its slots and the longest ever before and after it.
fn longest(window: &Latency, max_before_ns: u64) -> Option<Longest> {
    let ever = window.max_ns as f64 / 1e9;
    if window.max_ns > max_before_ns {
        return Some(Longest::Exactly(ever));
    }
    let slot = window.slots.iter().rposition(|count| *count > 0)?;
    Some(Longest::AtMost(slots::bound_seconds(slot).min(ever)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An answer as the agent gives it.
    pub(crate) const ANSWER: &str = r#"{
        "version": "0.1.0",
        "series": [
            {"target":"demo","class":"wal","op":"fdatasync","calls":12,"sum_ns":2000000,"max_ns":900000,"slots":[[57,3],[60,9]]},
            {"target":"demo","class":"wal","op":"fsync","calls":1,"sum_ns":9,"max_ns":5000000,"slots":[[100,1]]}
        ],
        "writes": [
            {"target":"demo","class":"wal","ops":[{"op":"write","calls":5,"bytes":20480},{"op":"pwrite64","calls":1,"bytes":10}]},
            {"target":"demo","class":"other","ops":[{"op":"write","calls":1,"bytes":7}]}
        ],
        "errors": [{"target":"demo","class":"wal","op":"write","error":"ENOSPC","count":2}],
        "lost": {"inflight_full":0,"ring_full":0}
    }"#;

    #[test]
    fn an_answer_is_summed_over_its_calls() {
        let status = Status::parse(ANSWER).unwrap();
        let latency = status.latency("wal");
        assert_eq!((latency.calls, latency.max_ns), (13, 5_000_000));
        assert_eq!(status.written("wal"), (6, 20_490));
        assert_eq!(status.failed("wal"), 2);
        assert_eq!(status.classes(), ["wal", "store", "other"]);
        assert_eq!(status.lost.values().sum::<u64>(), 0);
    }

    #[test]
    fn shares_are_of_the_time_between_two_answers() {
        let status = |cpu: u64, flush: u64| {
            Status::parse(&format!(
                r#"{{"series":[{{"class":"wal","op":"fsync","calls":1,"max_ns":1,"slots":[],"phases_ns":{{"cpu":{cpu},"flush":{flush},"queue":0}}}}]}}"#
            ))
            .unwrap()
        };
        let shares = status(200, 1_300).shares(&status(100, 1_000), "wal");
        assert_eq!(shares, [("flush".to_owned(), 0.75), ("cpu".to_owned(), 0.25)]);
        assert_eq!(status(1, 1).shares(&status(1, 1), "wal"), []);
    }

    #[test]
    fn an_agent_without_calls_answers_little() {
        let status = Status::parse("{}").unwrap();
        let rows = status.since(&Status::default(), 1.0);
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.quantiles == [None; 3] && row.longest.is_none()));
        assert!(Status::parse("not JSON").is_err());
    }

    #[test]
    fn a_window_has_only_its_own_calls() {
        let before = Status::parse(ANSWER).unwrap();
        let mut after = before.clone();
        after.series[0].calls += 10;
        after.series[0].slots = vec![(57, 3), (60, 9), (80, 10)];
        after.writes[0].ops[0].calls += 4;
        after.writes[0].ops[0].bytes += 4096;
        let rows = after.since(&before, 2.0);
        let wal = &rows[0];
        assert!((wal.syncs_per_second - 5.0).abs() < 1e-9 && (wal.writes_per_second - 2.0).abs() < 1e-9);
        assert!((wal.bytes_per_second - 2048.0).abs() < 1e-9);
        // Slot 80 is 2^-10.125 to 2^-10 s; its bound is the most that the longest call of the window can be.
        assert!((wal.quantiles[0].unwrap() - 2_f64.powf(-10.0625)).abs() < 1e-9);
        assert_eq!(wal.longest, Some(Longest::AtMost(2_f64.powi(-10))));
        after.series[0].max_ns = 6_000_000;
        assert_eq!(after.since(&before, 2.0)[0].longest, Some(Longest::Exactly(0.006)));
    }
}
