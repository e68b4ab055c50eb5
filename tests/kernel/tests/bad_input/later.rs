//! Directories and processes that are not there yet, and names that no one should use.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::load::{Load, renamed};
use stemedb_kernel_tests::prometheus::promtool_complaints;
use stemedb_kernel_tests::{compare, exposition, wait_for};

/// A generous limit for what takes seconds.
const SOON: Duration = Duration::from_secs(30);

/// A load of some writes and syncs to a directory of class `wal`, under another name.
fn load(links: &Path, name: &OsStr, dir: &Path) -> Result<Load> {
    let mut command = renamed(links, name)?;
    command.args(["latency", "--calls", "100", "--threads", "2", "--dir"]).arg(dir);
    Load::start_command(command)
}

/// `stemedb_probe_class_directory_found` of a directory.
fn found(agent: &Agent, directory: &Path) -> Result<f64> {
    let families = exposition::parse(&agent.get("/metrics", "")?)?;
    let directory = directory.to_str();
    let mut samples = families.iter().flat_map(|family| &family.samples);
    let sample = samples
        .find(|sample| sample.name == "stemedb_probe_class_directory_found" && sample.label("directory") == directory);
    Ok(sample.context("no such directory in the metrics")?.value)
}

fn is(value: f64, other: f64) -> bool {
    (value - other).abs() < f64::EPSILON
}

#[test]
fn a_class_directory_that_comes_later() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // Two levels that are not there.
    let wal = dir.path().join("data").join("wal");
    let agent = Agent::watch("comm=directory-late", &[("wal", &wal)])?;
    let path = wal.display().to_string();
    let warned = |line: &str| line.contains("WARN") && line.contains(&path);
    assert!(agent.log().lines().any(warned), "no warning that names {path}:\n{}", agent.log());
    assert!(is(found(&agent, &wal)?, 0.0));
    fs::create_dir_all(&wal)?;
    wait_for("the directory to be found", SOON, || found(&agent, &wal).ok().filter(|n| is(*n, 1.0)))?;
    let tally = load(dir.path(), OsStr::new("directory-late"), &wal)?.run()?;
    assert_eq!(tally.total_calls(), 200);
    compare::equal(&agent.status()?, &tally)
}

#[test]
fn a_process_that_comes_later() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let wal = dir.path().join("wal");
    fs::create_dir(&wal)?;
    let agent = Agent::watch("comm=process-l?te", &[("wal", &wal)])?;
    let warned = |line: &str| line.contains("WARN") && line.contains("target t") && line.contains("comm=process-l?te");
    assert!(agent.log().lines().any(warned), "no warning that names target and pattern:\n{}", agent.log());
    assert_eq!(agent.status()?.targets[0].process_count, 0);
    let mut load = load(dir.path(), OsStr::new("process-late"), &wal)?;
    let tally = load.run()?;
    let status = agent.status()?;
    compare::equal(&status, &tally)?;
    assert_eq!((status.targets[0].process_count, status.targets[0].processes_seen), (1, 1));
    Ok(())
}

#[test]
fn names_with_quotes_newlines_and_bytes_that_are_no_text() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let wal = dir.path().join("a \"quoted\"\nfolder\\");
    fs::create_dir(&wal)?;
    let agent = Agent::watch("comm=we\"ird*", &[("wal", &wal)])?;
    let mut load = load(dir.path(), OsStr::from_bytes(b"we\"ird\n\xff\\ and more than fits"), &wal)?;
    let tally = load.run()?;
    compare::equal(&agent.status()?, &tally)?;
    assert!(is(found(&agent, &wal)?, 1.0));
    // Promtool may have a taste of its own, but it must be able to read it.
    promtool_complaints(&agent.get("/metrics", "")?)?;
    let status: Value = serde_json::from_str(&agent.get("/status", "")?)?;
    // 15 bytes of the name; the one that is no text is replaced.
    assert_eq!(status["targets"][0]["processes"][0]["comm"], "we\"ird\n\u{fffd}\\ and m");
    assert_eq!(status["classes"][0]["pattern"].as_str(), wal.to_str());
    Ok(())
}
