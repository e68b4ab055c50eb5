//! Quantiles of the kernel's slots against the load's own clock.
//!
//! The kernel measures inside of what the load measures, so its quantile is never above the load's by more than half a slot.
//! Below it may be by half a slot and by what the load's clock sees and the kernel's does not: the way into and out of the call,
//! which is measured in the same run, and a preemption there, which can hit a few calls in a thousand.

use std::path::Path;

use anyhow::{Context, Result};
use stemedb_ebpf::slots::{QUANTILE_ERROR, quantile};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::quantiles::{QUANTILES, check_dominance, exact};
use stemedb_kernel_tests::scaled;
use stemedb_workload::Tally;

/// What an `fdatasync` costs outside of the kernel's measurement, in seconds: most of a call that fails at once.
fn cost_of_a_call(dir: &Path) -> Result<f64> {
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", dir)])?;
    let mut tally = Tally::with_raw();
    for _ in 0..scaled(20_000) {
        let _ = tally.on("other").fdatasync(&-1);
    }
    let mut seen = tally.sync_ns("other").to_vec();
    seen.sort_unstable();
    let inside = quantile(&agent.status()?.sync_slots("other"), 0.5).context("nothing counted")?;
    let outside = seen[seen.len() / 2] as f64 / 1e9;
    Ok((outside - inside).max(0.0))
}

fn compare(dir: &Path, threads: &str) -> Result<()> {
    let cost = cost_of_a_call(dir)?;
    let args =
        ["latency", "--dir", &dir.display().to_string(), "--calls", &scaled(20_000).to_string(), "--threads", threads]
            .map(str::to_owned);
    let mut load = Load::start(&args)?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", dir)])?;
    let tally = load.run()?;
    let status = agent.status()?;
    let slots = status.sync_slots("wal");
    let mut seen = tally.sync_ns("wal").to_vec();
    seen.sort_unstable();
    assert_eq!(slots.iter().sum::<u64>(), seen.len() as u64);
    check_dominance(&slots, &seen)?;
    for q in QUANTILES {
        let kernel = quantile(&slots, q).context("nothing counted")?;
        let high = exact(&seen, q) * (1.0 + QUANTILE_ERROR);
        // One call in 2,000 may have been preempted outside of the kernel's measurement.
        let low = exact(&seen, q - 0.0005) * (1.0 - QUANTILE_ERROR) - 3.0 * cost;
        println!("{threads} threads, p{}: kernel {kernel:.6} load {:.6} cost {cost:.9}", q * 100.0, exact(&seen, q));
        assert!(kernel <= high && kernel >= low, "p{}: {low} <= {kernel} <= {high}", q * 100.0);
    }
    let max = status.series.iter().filter(|s| s.class == "wal").map(|s| s.max_ns).max().unwrap_or(0);
    assert!(max <= *seen.last().context("empty")?, "the longest call inside is not longer than outside");
    Ok(())
}

#[test]
fn on_a_quiet_disk() -> Result<()> {
    let mount = Mount::new("ext4")?;
    compare(&mount.dir("wal")?, "1")
}

#[test]
fn on_a_loaded_disk() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let noise = mount.dir("noise")?;
    let args = ["hold", "--dir", &noise.display().to_string(), "--threads", "3", "--size", "65536", "--seconds", "300"]
        .map(str::to_owned);
    let mut neighbour = Load::start(&args)?;
    neighbour.go()?;
    compare(&mount.dir("wal")?, "4")
}
