//! What the agent itself takes: memory, time to start, time for a scrape, processor time while nothing happens.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use stemedb_kernel_tests::agent::Agent;

use crate::workloads::median;

/// Numbers of targets that are compared; the kernel side holds 32 rules for processes.
const TARGETS: [usize; 3] = [1, 10, 32];
/// Scrapes of which the one in the middle counts.
const SCRAPES: usize = 11;
/// For how long it does nothing.
const IDLE: Duration = Duration::from_secs(5);

/// What an agent takes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) targets: usize,
    /// From its start to the end of its first scrape.
    pub(crate) start_seconds: f64,
    /// After the scrapes.
    pub(crate) resident_kb: f64,
    /// Lines with a value of one scrape, and its bytes.
    pub(crate) series: usize,
    pub(crate) bytes: usize,
    /// Within the agent, as it says itself.
    pub(crate) scrape_seconds: f64,
    /// Part of a processor while nothing happens.
    pub(crate) idle: f64,
}

/// Starts an agent for each number of targets.
pub(crate) fn measure() -> Result<Vec<Row>> {
    TARGETS.into_iter().map(row).collect()
}

fn row(targets: usize) -> Result<Row> {
    let mut arguments = Vec::new();
    for n in 0..targets {
        arguments.extend(["--target".to_owned(), format!("t{n}:comm=no-such-name-{n}")]);
        for class in ["wal", "store", "index"] {
            arguments.extend(["--class".to_owned(), format!("t{n}:{class}=/nonexistent/{n}/{class}")]);
        }
    }
    let began = Instant::now();
    let agent = Agent::start(&arguments)?;
    let text = agent.get("/metrics", "text/plain")?;
    let start_seconds = began.elapsed().as_secs_f64();
    let times = (0..SCRAPES).map(|_| scrape_seconds(&agent.get("/metrics", "text/plain")?));
    let times = times.collect::<Result<Vec<f64>>>()?;
    let resident_kb = figure(&fs::read_to_string(format!("/proc/{}/status", agent.pid()))?, "VmRSS:")?;
    let before = processor_seconds(&agent)?;
    sleep(IDLE);
    let idle = (processor_seconds(&agent)? - before) / IDLE.as_secs_f64();
    Ok(Row {
        targets,
        start_seconds,
        resident_kb,
        series: text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count(),
        bytes: text.len(),
        scrape_seconds: median(times.into_iter()),
        idle,
    })
}

/// The number after a word.
fn figure(text: &str, word: &str) -> Result<f64> {
    let after = text.lines().find_map(|line| line.strip_prefix(word)).with_context(|| format!("no {word}"))?;
    Ok(after.split_ascii_whitespace().next().context("no number")?.parse()?)
}

/// How long the scrape before took.
fn scrape_seconds(text: &str) -> Result<f64> {
    figure(text, "stemedb_probe_scrape_duration_seconds ")
}

/// In nanoseconds; `/proc/PID/stat` counts in hundredths of a second.
fn processor_seconds(agent: &Agent) -> Result<f64> {
    let mut ns = 0.0;
    for task in fs::read_dir(format!("/proc/{}/task", agent.pid()))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        ns += text.split_ascii_whitespace().next().context("no schedstat")?.parse::<f64>()?;
    }
    Ok(ns / 1e9)
}
