//! What the agent itself takes: memory, time to start, time for a scrape, processor time while nothing happens.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use stemedb_kernel_tests::agent::Agent;

use crate::beside::watching;
use crate::loads::{Load, Places};
use crate::workloads::median;

/// Numbers of targets, and of classes of each beside those that every target has.
const ROWS: [(usize, usize); 4] = [(1, 0), (1, 3), (10, 3), (100, 3)];
/// Scrapes of which the one in the middle counts.
const SCRAPES: usize = 11;
/// For how long it does nothing.
const IDLE: Duration = Duration::from_secs(5);

/// What an agent takes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) targets: usize,
    /// Beside `other` and `wal`.
    pub(crate) classes: usize,
    /// From its start until everything is attached.
    pub(crate) ready_seconds: f64,
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

/// What the agent's process takes while calls are counted.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Busy {
    pub(crate) calls_per_second: f64,
    /// Part of a processor.
    pub(crate) processor: f64,
}

/// Starts an agent for each row.
pub(crate) fn measure() -> Result<Vec<Row>> {
    ROWS.into_iter().map(|(targets, classes)| row(targets, classes)).collect()
}

/// Writes as fast as they come, watched.
pub(crate) fn busy(places: &Places) -> Result<Busy> {
    let agent = watching(places)?;
    let before = processor_seconds(&agent)?;
    let began = Instant::now();
    let done = places.run(Load::Writes, IDLE)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Busy { calls_per_second: done.per_second, processor: (processor_seconds(&agent)? - before) / seconds })
}

fn row(targets: usize, classes: usize) -> Result<Row> {
    let mut arguments = Vec::new();
    for n in 0..targets {
        arguments.extend(["--target".to_owned(), format!("t{n}:comm=no-such-name-{n}")]);
        for class in ["one", "two", "three"].into_iter().take(classes) {
            arguments.extend(["--class".to_owned(), format!("t{n}:{class}=/nonexistent/{n}/{class}")]);
        }
    }
    let began = Instant::now();
    let agent = Agent::start(&arguments)?;
    let ready_seconds = began.elapsed().as_secs_f64();
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
        classes,
        ready_seconds,
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
