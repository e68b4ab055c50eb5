//! Whether a write costs more where there is more of something.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use stemedb_kernel_tests::agent::Agent;

use crate::Options;
use crate::beside::Bench;
use crate::loads::{COMM, pace};
use crate::meter::{self, Statistics};
use crate::workloads::median;

/// A write of 512 bytes where there is so much of each.
#[derive(Debug, Clone, Copy)]
struct Variant {
    name: &'static str,
    /// Processes that are watched and do nothing.
    processes: usize,
    /// Open files, of which each write takes the next.
    files: usize,
    /// Class directories.
    directories: usize,
    /// Directories between the file and its class directory.
    below: usize,
    /// Targets.
    targets: usize,
}

const ONE: Variant = Variant {
    name: "one process, one file just below the one class directory, one target",
    processes: 0,
    files: 1,
    directories: 1,
    below: 0,
    targets: 1,
};
const VARIANTS: [Variant; 6] = [
    ONE,
    Variant { name: "1,000 watched processes more", processes: 1_000, ..ONE },
    Variant { name: "10,000 open files, of which each write takes the next", files: 10_000, ..ONE },
    Variant { name: "64 class directories at depth 8", directories: 64, ..ONE },
    Variant { name: "the same, and the file 8 directories below its own", directories: 64, below: 8, ..ONE },
    Variant { name: "100 targets", targets: 100, ..ONE },
];

/// What one of them costs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    /// Nanoseconds of all programs for a write: the median of the rounds.
    pub(crate) ns: f64,
    /// The same, of the first in the same round.
    pub(crate) of_first: f64,
}

/// Runs all of them.
pub(crate) fn measure(bench: &Bench, options: &Options, time: Duration) -> Result<Vec<Row>> {
    let _statistics = Statistics::on()?;
    allow_files()?;
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for round in 0..options.rounds as usize {
        let mut costs = vec![0.0; VARIANTS.len()];
        for turn in 0..VARIANTS.len() {
            let which = (turn + round) % VARIANTS.len();
            costs[which] = cost(bench, VARIANTS[which], time).with_context(|| VARIANTS[which].name)?;
        }
        rounds.push(costs);
        eprintln!("growth: round {} of {}", round + 1, options.rounds);
    }
    let row = |(which, variant): (usize, &Variant)| Row {
        what: variant.name,
        ns: median(rounds.iter().map(|costs| costs[which])),
        of_first: median(rounds.iter().map(|costs| costs[which] / costs[0])),
    };
    Ok(VARIANTS.iter().enumerate().map(row).collect())
}

/// So many as the largest variant opens, and some more.
fn allow_files() -> Result<()> {
    let wanted = VARIANTS.iter().map(|variant| variant.files as u64).max().unwrap_or(0) + 1_000;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted), hard.max(wanted))
        .context("cannot raise the limit of open files")
}

fn cost(bench: &Bench, variant: Variant, time: Duration) -> Result<f64> {
    let folder = tempfile::tempdir_in(bench.places.of(crate::loads::Load::Writes))?;
    let above = (1..8).fold(folder.path().to_owned(), |path, n| path.join(n.to_string()));
    let directories: Vec<PathBuf> = (0..variant.directories).map(|n| above.join(n.to_string())).collect();
    for directory in &directories {
        fs::create_dir_all(directory)?;
    }
    let last = directories.last().context("no directory")?;
    let below = (0..variant.below).fold(last.clone(), |path, n| path.join(n.to_string()));
    fs::create_dir_all(&below)?;
    let agent = agent(variant, &directories)?;
    let _idle = Idle::start(variant.processes)?;
    // All of them are seen before it begins.
    sleep(Duration::from_millis(200));
    let before = meter::programs();
    let files = variant.files.to_string();
    let done = pace("writes", &below, time, &["--files", &files])?;
    let ns: u64 = meter::since(&bench.others, &before).iter().map(|program| program.ns).sum();
    check(&agent, variant, last)?;
    Ok(ns as f64 / done.calls)
}

fn agent(variant: Variant, directories: &[PathBuf]) -> Result<Agent> {
    let mut arguments = Vec::new();
    for n in 1..variant.targets {
        arguments.extend(["--target".to_owned(), format!("other-{n}:comm=no-such-name-{n}")]);
    }
    for rule in [COMM, "sleep"] {
        arguments.extend(["--target".to_owned(), format!("t:comm={rule}")]);
    }
    for (n, directory) in directories.iter().enumerate() {
        arguments.extend(["--class".to_owned(), format!("t:class-{n}={}", directory.display())]);
    }
    Agent::start(&arguments)
}

/// What was measured is what was meant.
fn check(agent: &Agent, variant: Variant, class: &Path) -> Result<()> {
    let status = agent.status()?;
    let losses = status.losses();
    ensure!(losses.is_empty() || losses.iter().all(|(reason, _)| *reason == "recursion"), "{losses:?}");
    let watched = status.targets.iter().find(|target| target.name == "t").context("no target")?.process_count;
    ensure!(watched >= variant.processes as u64, "{watched} processes of {}", variant.processes);
    let name = format!("class-{}", variant.directories - 1);
    ensure!(status.calls(&name, "pwrite64") > 0, "no write below {}", class.display());
    Ok(())
}

/// Processes that do nothing, until this is dropped.
struct Idle(Vec<Child>);

impl Idle {
    fn start(count: usize) -> Result<Self> {
        let mut idle = Self(Vec::new());
        for _ in 0..count {
            let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            idle.0.push(child.context("cannot start sleep")?);
        }
        Ok(idle)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
