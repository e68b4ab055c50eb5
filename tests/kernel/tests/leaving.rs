//! When the agent goes, however it goes, nothing of it stays in the kernel, and the database does not notice.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::bpf::{self, Ids, Kind};
use stemedb_kernel_tests::load::{Load, renamed};
use stemedb_kernel_tests::outcome::Outcome;
use stemedb_kernel_tests::{binary, scaled, wait_for};
use stemedb_workload::{Op, Tally};
use tempfile::TempDir;

/// The kernel gives back what nobody holds a moment later; this is generous.
const GIVEN_BACK: Duration = Duration::from_secs(5);
/// A generous limit for a busy load to do something.
const SOON: Duration = Duration::from_secs(30);
/// The name of the load's process.
const NAME: &str = "leaving-load";

/// A load that writes and syncs without a pause.
struct Busy {
    load: Load,
    dir: TempDir,
}

impl Busy {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = renamed(dir.path(), OsStr::new(NAME))?;
        command.args(["hold", "--threads", "2", "--dir"]).arg(dir.path().join("wal"));
        let mut load = Load::start_command(command)?;
        load.go()?;
        Ok(Self { load, dir })
    }

    fn agent(&self) -> Result<Agent> {
        Agent::watch(&format!("comm={NAME}"), &[("wal", &self.dir.path().join("wal"))])
    }

    /// System calls that write, until now; the kernel's own count.
    fn writes(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.load.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("syscw: "));
        line.and_then(|n| n.parse().ok()).context("no syscw in /proc/PID/io")
    }

    /// Waits for more of them.
    fn goes_on(&self) -> Result<()> {
        let before = self.writes()?;
        wait_for("more writes of the load", SOON, || self.writes().ok().filter(|n| *n > before + 100)).map(drop)
    }

    fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.load.pid()))?.count())
    }

    /// Its own tally, in which no call has failed.
    fn finish(mut self) -> Result<Tally> {
        self.load.stop()?;
        let report = self.load.json()?;
        let classes = report["classes"].as_object().context("no classes")?;
        let failed =
            classes.values().filter(|class| class["errors"].as_object().is_none_or(|errors| !errors.is_empty()));
        let failed: Vec<&Value> = failed.collect();
        ensure!(failed.is_empty(), "calls of the load have failed: {failed:?}");
        println!("the longest round of the load took {} ns", report["max_gap_ns"]);
        Ok(serde_json::from_value(report)?)
    }
}

/// Waits until an agent counts what the load does.
fn counts(agent: &Agent) -> Result<()> {
    wait_for("the agent to count", SOON, || agent.status().ok().filter(|status| status.calls("wal", "fdatasync") > 0))?;
    Ok(())
}

/// What an agent has in the kernel: programs, links and maps, or the test would prove nothing.
fn of_agent(agent: &Agent) -> Result<Ids> {
    let ids = bpf::held_by(agent.pid())?;
    for kind in [Kind::Program, Kind::Link, Kind::Map] {
        ensure!(ids.iter().any(|(other, _)| *other == kind), "the agent holds no {kind:?}: {ids:?}");
    }
    ensure!(ids.is_subset(&bpf::loaded()), "the kernel does not list all that the agent holds");
    Ok(ids)
}

/// Waits until nothing of an agent is left, and says how long that took.
fn gone(before: &Ids, agent: &Ids) -> Result<Duration> {
    let began = Instant::now();
    let mut left = Ids::new();
    let waited = wait_for("the end of all that the agent had in the kernel", GIVEN_BACK, || {
        left = bpf::loaded().intersection(agent).copied().collect();
        left.extend(bpf::left_since(before));
        left.is_empty().then_some(())
    });
    waited.with_context(|| format!("left: {left:?}"))?;
    Ok(began.elapsed())
}

/// Ends an agent by a signal while a load runs.
fn leaves(signal: libc::c_int) -> Result<ExitStatus> {
    let busy = Busy::start()?;
    let before = bpf::loaded();
    let mut agent = busy.agent()?;
    counts(&agent)?;
    let ids = of_agent(&agent)?;
    agent.signal(signal)?;
    let status = agent.wait()?;
    let took = gone(&before, &ids)?;
    println!("signal {signal}: {} ids were gone {took:?} after the process", ids.len());
    busy.goes_on()?;
    let tally = busy.finish()?;
    assert!(tally.calls("wal", Op::Write) > 100 && tally.calls("wal", Op::Fdatasync) > 100);
    Ok(status)
}

#[test]
fn by_sigterm() -> Result<()> {
    assert_eq!(leaves(libc::SIGTERM)?.code(), Some(0));
    Ok(())
}

#[test]
fn by_sigint() -> Result<()> {
    assert_eq!(leaves(libc::SIGINT)?.code(), Some(0));
    Ok(())
}

#[test]
fn by_sighup() -> Result<()> {
    assert_eq!(leaves(libc::SIGHUP)?.code(), Some(0));
    Ok(())
}

#[test]
fn by_sigkill() -> Result<()> {
    assert_eq!(leaves(libc::SIGKILL)?.signal(), Some(libc::SIGKILL));
    Ok(())
}

#[test]
fn twenty_times_in_a_row() -> Result<()> {
    let busy = Busy::start()?;
    let (before, descriptors) = (bpf::loaded(), busy.descriptors()?);
    let mut slowest = Duration::ZERO;
    for round in 0..scaled(20).max(2) {
        let mut agent = busy.agent()?;
        counts(&agent)?;
        let ids = of_agent(&agent)?;
        agent.signal(if round % 2 == 0 { libc::SIGTERM } else { libc::SIGKILL })?;
        agent.wait()?;
        slowest = slowest.max(gone(&before, &ids).with_context(|| format!("round {round}"))?);
        assert_eq!(busy.descriptors()?, descriptors, "descriptors of the load in round {round}");
    }
    println!("at the slowest all was gone {slowest:?} after the process");
    busy.goes_on()?;
    busy.finish().map(drop)
}

/// A `doctor` attaches everything for a moment.
#[test]
fn after_a_doctor() -> Result<()> {
    let before = bpf::loaded();
    let outcome = Outcome::of_probe(&["doctor"])?;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    gone(&before, &Ids::new()).map(drop)
}

/// An agent that cannot open all that it needs has been half way in.
#[test]
fn after_a_start_that_failed() -> Result<()> {
    let before = bpf::loaded();
    let binary = binary("stemedb-probe")?;
    for descriptors in [12, 20, 28] {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={descriptors}")).arg(&binary).args(["run", "--listen", "127.0.0.1:0"]);
        Outcome::of(&mut command)?.complains(1, &["Too many open files"])?;
        gone(&before, &Ids::new()).with_context(|| format!("{descriptors} descriptors"))?;
    }
    Ok(())
}
