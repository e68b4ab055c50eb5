//! `cargo xtask bench`: what the agent's kernel side costs on block I/O and on the scheduler, on this machine, in one run.

mod sched;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::client::{Client, free_port};
use crate::process::{self, Agent};
use crate::{build, setup, shell};

const PAGE: &str = "docs/overhead.md";
/// What the processes print.
const LOG: &str = "target/bench.log";
/// By which the kernel keeps run counts and times of programs.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Size of the file that fio writes to.
const FILE: &str = "128M";

/// Measure what the agent costs on block I/O and on the scheduler, and write docs/overhead.md
///
/// fio writes 4 KiB blocks at random, 32 at a time, past the page cache, to an ext4 on a disk in memory (a loop device on a tmpfs).
/// In each round it does so without the agent, with the agent watching it, and with the agent watching something else; the order
/// turns from round to round, so that drift cancels. The same with two threads that hand a byte to and fro, each time with a switch of
/// threads, while no sync call is in flight. What one program costs, the kernel's own statistics tell, in runs of their
/// own, because keeping them costs time as well. Nothing else should run. Needs root.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each of fio's runs
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// A target without a process.
const NOBODY: &str = "comm=no-such-name";

/// What runs beside fio.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Beside {
    Nothing,
    /// An agent whose target is fio.
    Watching,
    /// An agent with another target.
    Elsewhere,
    /// The same, that does without the scheduler's events.
    WithoutSched,
}

const ALL: [Beside; 3] = [Beside::Nothing, Beside::Watching, Beside::Elsewhere];

impl Beside {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "without the agent",
            Self::Watching => "with the agent, fio is watched",
            Self::Elsewhere => "with the agent, fio is not watched",
            Self::WithoutSched => "with the agent, `--without sched`",
        }
    }
}

pub(crate) fn command(options: &Options) -> Result<ExitCode> {
    ensure!(shell::is_root(), "it mounts file systems and loads programs: run it as root");
    setup::command(setup::Options { tests: true, ..setup::Options::default() })?;
    build::agent()?;
    process::catch_signals();
    let log = File::create(shell::root().join(LOG)).with_context(|| format!("cannot write {LOG}"))?;
    let bench = Bench { disk: Disk::new()?, log, seconds: options.seconds };
    let mut rates: BTreeMap<Beside, Vec<f64>> = BTreeMap::new();
    for round in 0..options.rounds as usize {
        for place in 0..ALL.len() {
            let beside = ALL[(place + round) % ALL.len()];
            let rate = bench.run(beside)?.0;
            println!("round {} of {}: {:<36} {rate:>9.0} requests/s", round + 1, options.rounds, beside.name());
            rates.entry(beside).or_default().push(rate);
        }
    }
    let scheduler = sched::measure(&bench, options.rounds)?;
    let statistics = Statistics::on()?;
    let costs = [Beside::Watching, Beside::Elsewhere].map(|beside| bench.run(beside));
    let switches = sched::costs(&bench);
    drop(statistics);
    let [watching, elsewhere] = costs;
    let text = page(&rates, &watching?.1, &elsewhere?.1) + &sched::page(&scheduler, &switches?);
    fs::write(shell::root().join(PAGE), &text).with_context(|| format!("cannot write {PAGE}"))?;
    println!("\n{text}\nwrote {PAGE}");
    Ok(ExitCode::SUCCESS)
}

/// Runs and nanoseconds of each program, the hooks of the capabilities, and how many requests there were.
#[derive(Default)]
struct Costs {
    programs: BTreeMap<String, (u64, f64)>,
    hooks: BTreeMap<String, String>,
    requests: f64,
}

struct Bench {
    disk: Disk,
    log: File,
    seconds: u32,
}

impl Bench {
    /// fio's requests a second, and what the agent tells of itself.
    fn run(&self, beside: Beside) -> Result<(f64, Costs)> {
        let target = if beside == Beside::Watching { "comm=fio" } else { NOBODY };
        let (rate, costs) = self.with(beside, target, || self.fio())?;
        Ok((rate, Costs { requests: rate * f64::from(self.seconds), ..costs }))
    }

    /// What a load gives, and what the agent tells of itself.
    fn with(&self, beside: Beside, target: &str, load: impl FnOnce() -> Result<f64>) -> Result<(f64, Costs)> {
        if process::stopped() {
            bail!("stopped");
        }
        if beside == Beside::Nothing {
            return Ok((load()?, Costs::default()));
        }
        let client = Client::new(free_port()?);
        let target = format!("bench:{target}");
        let class = format!("bench:wal={}", self.disk.folder.display());
        let mut arguments =
            ["run", "--listen", &client.address, "--target", &target, "--class", &class].map(str::to_owned).to_vec();
        if beside == Beside::WithoutSched {
            arguments.extend(["--without", "sched"].map(str::to_owned));
        }
        let mut agent = Agent::start(shell::root().join(build::AGENT).as_os_str(), &arguments, &self.log)?;
        ensure!(client.await_ready(&mut agent)?, "stopped");
        let before = programs(&client.get("/metrics")?);
        let rate = load()?;
        let text = client.get("/metrics")?;
        let after = programs(&text);
        agent.finish()?;
        let since = |(name, (runs, seconds)): (&String, &(u64, f64))| {
            let (runs_before, seconds_before) = before.get(name).copied().unwrap_or_default();
            (name.clone(), (runs - runs_before, seconds - seconds_before))
        };
        let programs = after.iter().map(since).filter(|(_, (runs, _))| *runs != 0).collect();
        Ok((rate, Costs { programs, hooks: hooks(&text), requests: 0.0 }))
    }

    fn fio(&self) -> Result<f64> {
        let mut fio = shell::command("fio");
        fio.args(["--name=bench", "--rw=randwrite", "--bs=4k", "--direct=1", "--ioengine=libaio", "--iodepth=32"]);
        fio.args(["--time_based", "--randseed=1", "--output-format=json"]);
        fio.arg(format!("--runtime={}", self.seconds)).arg(format!("--size={FILE}"));
        fio.arg(format!("--filename={}", self.disk.folder.join("data").display()));
        let report: Value = serde_json::from_str(&shell::capture(&mut fio)?).context("fio's report")?;
        report["jobs"][0]["write"]["iops"].as_f64().context("fio tells no rate")
    }
}

/// Figures of each program from the exposition.
fn programs(text: &str) -> BTreeMap<String, (u64, f64)> {
    let value = |metric: &str| -> BTreeMap<String, f64> {
        let start = format!("stemedb_probe_program_{metric}_total{{program=\"");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
        lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    };
    let (runs, seconds) = (value("runs"), value("run_seconds"));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let of = |(name, runs): (String, f64)| {
        let seconds = seconds.get(&name).copied().unwrap_or(0.0);
        (name, (runs as u64, seconds))
    };
    runs.into_iter().map(of).collect()
}

/// The hook of each capability that is there.
fn hooks(text: &str) -> BTreeMap<String, String> {
    let start = "stemedb_probe_capability{capability=\"";
    let lines = text.lines().filter_map(|line| line.strip_prefix(start)?.strip_suffix("\"} 1"));
    lines.filter_map(|line| line.split_once("\",hook=\"")).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn page(rates: &BTreeMap<Beside, Vec<f64>>, watching: &Costs, elsewhere: &Costs) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let hook = |name: &str| watching.hooks.get(name).map_or("off", String::as_str);
    let mut out = format!(
        "# Overhead\n\nWritten by `cargo xtask bench`; do not edit. Absolute times are those of one machine and mean little on \
         another; the ratios are of one run.\n\nLinux {}, system calls by `{}`, block I/O by `{}`. fio: random writes of 4 KiB \
         past the page cache, 32 at a time, to an ext4 on a disk in memory.\n\n## Requests a second\n\n",
        kernel.trim(),
        hook("write"),
        hook("block"),
    );
    let base = rates.get(&Beside::Nothing).map_or(0.0, |all| median(all));
    out += "| | median | range | of the first |\n|---|---|---|---|\n";
    for (beside, all) in rates {
        let (low, high) = all.iter().fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        let ratio = median(all) / base * 100.0;
        out += &format!("| {} | {:.0} | {low:.0} to {high:.0} | {ratio:.1} % |\n", beside.name(), median(all));
    }
    out += "\n## What one run of a program costs\n\nBy the kernel's statistics (`kernel.bpf_stats_enabled`), which add some \
            nanoseconds themselves. Programs with less than one run for a thousand requests are left out.\n\n\
            | program | ns, fio is watched | ns, it is not | runs a request |\n|---|---|---|---|\n";
    for (name, (runs, seconds)) in &watching.programs {
        let a_request = *runs as f64 / watching.requests;
        if a_request < 0.001 {
            continue;
        }
        let ns = |runs: u64, seconds: f64| format!("{:.0}", seconds * 1e9 / runs as f64);
        let other = elsewhere.programs.get(name).map_or_else(|| "-".to_owned(), |(runs, seconds)| ns(*runs, *seconds));
        out += &format!("| `{name}` | {} | {other} | {a_request:.2} |\n", ns(*runs, *seconds));
    }
    let total = |costs: &Costs| {
        let of_block = |name: &&String| name.starts_with("block_");
        let sum: f64 = costs.programs.iter().filter(|(name, _)| of_block(name)).map(|(_, (_, seconds))| seconds).sum();
        sum * 1e9 / costs.requests
    };
    out += &format!(
        "\nAll programs on block I/O together: {:.0} ns a request where fio is watched, {:.0} ns where it is not.\n",
        total(watching),
        total(elsewhere)
    );
    out
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The kernel keeps figures of programs until this is dropped.
struct Statistics(String);

impl Statistics {
    fn on() -> Result<Self> {
        let before = fs::read_to_string(STATISTICS).with_context(|| STATISTICS.to_owned())?;
        fs::write(STATISTICS, "1")?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = fs::write(STATISTICS, self.0.trim());
    }
}

/// An ext4 on a loop device whose image is in memory.
struct Disk {
    folder: PathBuf,
    mounted: Vec<PathBuf>,
    _temporary: tempfile::TempDir,
}

impl Disk {
    fn new() -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let (memory, folder) = (temporary.path().join("memory"), temporary.path().join("disk"));
        let mut disk = Self { folder, mounted: Vec::new(), _temporary: temporary };
        disk.mount(&memory, &["-t", "tmpfs", "-o", "size=512m", "tmpfs"])?;
        let image = memory.join("image").display().to_string();
        shell::run(shell::command("truncate").args(["-s", "256M", &image]))?;
        shell::run(shell::command("mkfs.ext4").args(["-q", "-F", "-O", "^has_journal", &image]))?;
        let folder = disk.folder.clone();
        disk.mount(&folder, &["-o", "loop", &image])?;
        Ok(disk)
    }

    fn mount(&mut self, at: &Path, arguments: &[&str]) -> Result<()> {
        fs::create_dir(at)?;
        shell::run(shell::command("mount").args(arguments).arg(at))?;
        self.mounted.push(at.to_owned());
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for at in self.mounted.iter().rev() {
            if let Err(error) = shell::run(shell::command("umount").arg(at)) {
                eprintln!("{error:#}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_exposition() {
        let text = "stemedb_probe_program_runs_total{program=\"a:b\"} 7\n\
                    stemedb_probe_program_run_seconds_total{program=\"a:b\"} 0.000001400\n\
                    stemedb_probe_capability{capability=\"block\",hook=\"tp_btf:x\"} 1\n\
                    stemedb_probe_capability{capability=\"aio\",hook=\"\"} 0\n";
        assert_eq!(programs(text)["a:b"], (7, 1.4e-6));
        assert_eq!(hooks(text), BTreeMap::from([("block".to_owned(), "tp_btf:x".to_owned())]));
    }

    #[test]
    fn the_page_has_a_row_for_each_way_and_each_program() {
        let rates = BTreeMap::from([(Beside::Nothing, vec![100.0, 90.0, 110.0]), (Beside::Watching, vec![99.0])]);
        let costs = |ns: f64| Costs {
            programs: BTreeMap::from([("block_rq_issue".to_owned(), (1000, 1000.0 * ns * 1e-9))]),
            hooks: BTreeMap::new(),
            requests: 1000.0,
        };
        let text = page(&rates, &costs(50.0), &costs(40.0));
        assert!(text.contains("| with the agent, fio is watched | 99 | 99 to 99 | 99.0 % |"), "{text}");
        assert!(text.contains("| `block_rq_issue` | 50 | 40 | 1.00 |"), "{text}");
    }
}
