//! What the agent costs, on this machine, in one run: see `--help`.

mod agent;
mod beside;
mod events;
mod floor;
mod growth;
mod instructions;
mod loads;
mod meter;
mod page;
mod tools;
mod workloads;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use beside::Bench;
use loads::Places;

/// What the processes print.
const LOG: &str = "target/bench.log";
/// What is written, from the top folder.
const PAGE: &str = "docs/overhead.md";
const FIGURES: &str = "docs/overhead.json";

/// Measure what the agent costs, and write docs/overhead.md and docs/overhead.json
///
/// In each round every load runs beside nothing, beside empty programs on the agent's hooks, beside the agent that watches it,
/// beside the agent that watches something else, and beside each other tool that is installed; the order turns from round to round,
/// so that drift cancels. What one program costs, the kernel's own statistics tell, in rounds of their own, because keeping them
/// costs time as well. Nothing else should run. Needs root.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Options {
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Milliseconds of each run of a load
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..))]
    milliseconds: u64,
    /// A folder on the disk for the WAL loop; it is made if it is not there
    #[arg(long, default_value = "target/bench")]
    disk: PathBuf,
    /// Only these loads, by what their names contain
    #[arg(long)]
    load: Vec<String>,
    /// Only beside these, by what their names contain; beside nothing always
    #[arg(long)]
    beside: Vec<String>,
    /// Only what single programs cost, and write nothing
    #[arg(long)]
    events: bool,
    /// Only a line of JSON, for a machine whose clock counts instructions (`cargo xtask instructions`)
    #[arg(long, hide = true)]
    instructions: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let others = meter::programs();
    let folder = Path::new(LOG).parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let log = File::create(LOG).with_context(|| format!("cannot write {LOG}"))?;
    let bench = Bench::new(Places::new(&options.disk)?, others, log)?;
    let time = Duration::from_millis(options.milliseconds);
    if options.instructions {
        return instructions::print(&bench, options, time);
    }
    let events = events::measure(&bench, options, time)?;
    if options.events {
        println!("{}", page::events(&events));
        return Ok(());
    }
    let workloads = workloads::measure(&bench, options, time)?;
    let report = page::Report {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        hooks: bench.hook_of("write"),
        events,
        workloads,
        growth: growth::measure(&bench, options, time)?,
        agent: agent::measure()?,
        busy: agent::busy(&bench.places)?,
    };
    let text = page::page(&report);
    println!("{text}");
    if !options.load.is_empty() || !options.beside.is_empty() {
        eprintln!("not everything was measured: nothing is written");
        return Ok(());
    }
    fs::write(PAGE, text).with_context(|| format!("cannot write {PAGE}"))?;
    fs::write(FIGURES, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {FIGURES}"))?;
    println!("wrote {PAGE} and {FIGURES}");
    Ok(())
}

impl Options {
    fn loads(&self) -> Vec<loads::Load> {
        loads::LOADS.iter().copied().filter(|load| wanted(&self.load, load.name())).collect()
    }

    fn besides(&self) -> Vec<beside::Beside> {
        let all = beside::Beside::all().into_iter();
        all.filter(|one| matches!(one, beside::Beside::Nothing) || wanted(&self.beside, one.name())).collect()
    }
}

fn wanted(words: &[String], name: &str) -> bool {
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}
