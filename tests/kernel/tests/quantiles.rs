//! Quantiles of the kernel's slots against the load's own clock.
//!
//! The kernel measures inside of what the load measures, so its quantile is never above the load's by more than half a slot.
//! Below it may be by half a slot and by what the load's clock sees and the kernel's does not: the way into and out of the call,
//! which is measured in the same run with caches as cold as after a wait, and a preemption there, of which the scheduler tells
//! for each call how long it took at most.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stemedb_ebpf::slots::{QUANTILE_ERROR, quantile};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::quantiles::{QUANTILES, check_dominance, exact, figures};
use stemedb_kernel_tests::scaled;
use stemedb_workload::Tally;

/// What a write's `fdatasync` costs outside of the kernel's measurement, in nanoseconds: most of one where there is no disk,
/// made by a thread that comes from a wait, as one does whose disk has answered.
fn cost_of_a_call() -> Result<f64> {
    let mount = Mount::new("tmpfs")?;
    let dir = mount.dir("wal")?;
    let file = File::create(dir.join("cost"))?;
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &dir)])?;
    let mut tally = Tally::with_raw();
    for _ in 0..scaled(4_000) {
        tally.on("wal").write(&file, &[b'a'; 512])?;
        thread::sleep(Duration::from_micros(100));
        tally.on("wal").fdatasync(&file)?;
    }
    let mut seen = tally.sync_ns("wal").to_vec();
    seen.sort_unstable();
    let inside = quantile(&agent.status()?.sync_slots("wal"), 0.5).context("nothing counted")?;
    Ok((exact(&seen, 0.5) - inside).max(0.0) * 1e9)
}

fn compare(dir: &Path, threads: &str) -> Result<()> {
    let cost = cost_of_a_call()?;
    let args =
        ["latency", "--dir", &dir.display().to_string(), "--calls", &scaled(20_000).to_string(), "--threads", threads]
            .map(str::to_owned);
    let mut load = Load::start(&args)?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", dir)])?;
    load.go()?;
    let report = load.json()?;
    let preempted = figures(&report["preempted_ns"])?;
    let tally: Tally = serde_json::from_value(report)?;
    let status = agent.status()?;
    let slots = status.sync_slots("wal");
    let mut outside = tally.sync_ns("wal").to_vec();
    ensure!(slots.iter().sum::<u64>() == outside.len() as u64 && preempted.len() == outside.len(), "{}", outside.len());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some microseconds")]
    let cost = (3.0 * cost) as u64;
    let mut inside: Vec<u64> =
        outside.iter().zip(&preempted).map(|(ns, preempted)| ns.saturating_sub(preempted + cost)).collect();
    outside.sort_unstable();
    inside.sort_unstable();
    check_dominance(&slots, &outside)?;
    for q in QUANTILES {
        let kernel = quantile(&slots, q).context("nothing counted")?;
        let high = exact(&outside, q) * (1.0 + QUANTILE_ERROR);
        // One call in 2,000 may have been interrupted by something that is no thread.
        let low = exact(&inside, q - 0.0005) * (1.0 - QUANTILE_ERROR);
        println!("{threads} threads, p{}: {low:.6} <= {kernel:.6} <= {high:.6} cost {cost} ns", q * 100.0);
        assert!(kernel <= high && kernel >= low, "p{}: {low} <= {kernel} <= {high}", q * 100.0);
    }
    let max = status.series.iter().filter(|s| s.class == "wal").map(|s| s.max_ns).max().unwrap_or(0);
    assert!(max <= *outside.last().context("empty")?, "the longest call inside is not longer than outside");
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
