//! The parts of every call add up to it, and the counters to the histogram.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::scaled;
use stemedb_kernel_tests::trace::Trace;

/// Calls on tmpfs, which are fast, and on each file system with a disk.
const FAST: u64 = 92_000;
const EACH: u64 = 2_000;

fn of(kind: &str, calls: u64) -> Result<()> {
    let mount = Mount::new(kind)?;
    let wal = mount.dir("wal")?;
    let calls = scaled(calls);
    let args = ["latency", "--dir", &wal.display().to_string(), "--threads", "4", "--calls", &calls.to_string()]
        .map(str::to_owned);
    let mut load = Load::start(&args)?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    let trace = Trace::of(load.pid(), &wal, &[])?;
    load.run()?;
    let dropped = trace.log();
    let traced = trace.calls()?;
    let wrong: Vec<_> = traced.iter().filter(|call| call.parts() != call.total_ns).take(3).collect();
    ensure!(wrong.is_empty(), "parts that are not the whole: {wrong:?}");
    ensure!(traced.iter().all(|call| !call.undivided), "calls were not divided");
    // Where it does not keep up it says so; it does here.
    ensure!(traced.len() as u64 == calls, "{} of {calls} calls were traced; it said {dropped}", traced.len());
    let status = agent.status()?;
    let syncs: Vec<_> = status.series.iter().filter(|series| series.class == "wal").collect();
    ensure!(syncs.iter().map(|one| one.calls).sum::<u64>() == calls);
    for one in &syncs {
        let parts: u64 = one.phases_ns.values().sum();
        ensure!(parts == one.sum_ns, "{}: phases {parts} ns, latencies {} ns", one.op, one.sum_ns);
    }
    metrics_agree(&agent.get("/metrics", "text/plain")?)
}

/// The metric's own samples add up as well: both are whole nanoseconds.
fn metrics_agree(text: &str) -> Result<()> {
    let mut phases = 0;
    let mut sums = 0;
    let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
    let of: BTreeMap<&str, u64> = samples.filter_map(|(name, value)| Some((name, nanoseconds(value)?))).collect();
    for (name, ns) in &of {
        if name.starts_with("stemedb_wal_fsync_phase_seconds_total{") {
            phases += ns;
        } else if name.starts_with("stemedb_wal_fsync_latency_seconds_sum{") {
            sums += ns;
        }
    }
    println!("metrics: phases {phases} ns, latencies {sums} ns");
    ensure!(phases == sums && sums != 0, "phases {phases} ns, latencies {sums} ns");
    Ok(())
}

/// A number of seconds as nanoseconds, without a rounding.
fn nanoseconds(value: &str) -> Option<u64> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let fraction = format!("{fraction:0<9}");
    Some(whole.parse::<u64>().ok()? * 1_000_000_000 + fraction.get(..9)?.parse::<u64>().ok()?)
}

#[test]
fn of_every_call_on_tmpfs() -> Result<()> {
    of("tmpfs", FAST)
}

#[test]
fn of_every_call_on_disks() -> Result<()> {
    for kind in ["ext4", "ext4-nojournal", "xfs", "btrfs"] {
        of(kind, EACH).with_context(|| kind.to_owned())?;
    }
    Ok(())
}
