//! Counts and bytes equal the load's own, to the unit.

use anyhow::Result;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::compare;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::scaled;

/// Runs the load `exact` on the directories `wal`, `store` and `other` of a file system, and compares.
fn exact(kind: &str, processes: u64, threads: u64, calls: u64) -> Result<()> {
    let calls = scaled(calls);
    let mount = Mount::new(kind)?;
    let [wal, store, other] = [mount.dir("wal")?, mount.dir("store")?, mount.dir("elsewhere")?];
    let agent = Agent::watch("comm=stemedb-workloa*", &[("wal", &wal), ("store", &store)])?;
    let mut args = vec!["exact".to_owned()];
    for (class, dir) in [("wal", &wal), ("store", &store), ("other", &other)] {
        args.extend(["--dir".to_owned(), format!("{class}={}", dir.display())]);
    }
    let numbers = [("--processes", processes), ("--threads", threads), ("--calls", calls)];
    args.extend(numbers.iter().flat_map(|(flag, n)| [(*flag).to_owned(), n.to_string()]));
    let mut load = Load::start(&args)?;
    let tally = load.run()?;
    assert_eq!(tally.total_calls(), calls);
    compare::equal(&agent.status()?, &tally)
}

#[test]
fn four_processes_of_eight_threads_make_400_000_calls() -> Result<()> {
    exact("ext4-nojournal", 4, 8, 400_000)
}

#[test]
fn on_ext4_with_a_journal() -> Result<()> {
    exact("ext4", 2, 4, 16_000)
}

#[test]
fn on_xfs() -> Result<()> {
    exact("xfs", 2, 4, 16_000)
}

#[test]
fn on_btrfs() -> Result<()> {
    exact("btrfs", 2, 4, 16_000)
}

#[test]
fn on_tmpfs() -> Result<()> {
    exact("tmpfs", 2, 4, 16_000)
}

#[test]
fn on_overlayfs() -> Result<()> {
    exact("overlayfs", 2, 4, 16_000)
}
