//! `cargo xtask instructions`: what programs cost in instructions, in a machine whose clock counts them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use stemedb_vm_init::{Plan, Test};

use super::column::Column;
use super::kernels::Kernel;
use super::programs::Programs;
use super::run::Clock;
use super::{FOLDER, MODES, test_in_guest};

use crate::apt::Apt;
use crate::{build, process, setup, shell};

/// What is written, from the top folder.
const PAGE: &str = "docs/instructions.md";
const FIGURES: &str = "docs/instructions.json";
/// Modes in which there are empty programs to compare with.
const COMPARED: &[&str] = &[MODES[0], MODES[1]];
/// How the bench calls what runs beside a load.
const NOTHING: &str = "nothing";
const FLOOR: &str = "empty programs";
const AGENT: &str = "the agent";
/// Virtual milliseconds, each of a million instructions, of a run of a load.
const MILLISECONDS: &str = "50";
/// Loads by parts of their names: all but fio, which brings a hundred libraries with it.
const LOADS: &[&str] = &["WAL loop", "with a journal", "tmpfs", "getppid"];
/// Of these loads all instructions of a call are told; the others wait for a disk.
const BUSY: &[&str] = &["tmpfs", "getppid"];
/// What the line with the figures begins with.
const MARK: &str = "figures: ";
/// What one mode may take here.
const LIMIT: Duration = Duration::from_mins(15);
/// What both may.
const KERNEL_LIMIT: Duration = Duration::from_mins(30);
/// By so much a program may grow.
const GROWTH: f64 = 1.1;
/// What is less than that is not compared.
const SMALL: f64 = 20.0;
/// Programs that run less often for a call are not compared: what they meet differs from run to run.
const RARE: f64 = 0.5;

/// Count the instructions of each program in an emulated machine, and write docs/instructions.md
///
/// QEMU lets the clock of the machine run by one nanosecond with each instruction, so that the kernel's own statistics count
/// instructions: the same on every machine, without noise. Fails when a program of the agent has grown by more than a tenth since
/// the figures were written, unless told to accept that.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A version of Debian's cloud kernel
    #[arg(value_name = "KERNEL", default_value = "6.12")]
    kernel: String,
    /// Write the figures also where a program has grown
    #[arg(long)]
    accept: bool,
}

/// A program's figures: a nanosecond is an instruction.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Cost {
    program: String,
    /// For a call of the load.
    runs: f64,
    /// Of a run.
    ns: f64,
}

/// A load beside something, as the bench tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    load: String,
    unit: String,
    beside: String,
    /// A call of the load, without statistics.
    call: f64,
    /// All programs for a call, the statistics included.
    all: f64,
    programs: Vec<Cost>,
}

/// By mode.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Report {
    kernel: String,
    modes: BTreeMap<String, Vec<Row>>,
}

/// The command.
pub(crate) fn command(options: &Options) -> Result<ExitCode> {
    let begin = Instant::now();
    setup::for_vm()?;
    build::agent()?;
    build::workload()?;
    build::vm_init()?;
    build::bench()?;
    let kernel = Kernel::fetch(&options.kernel, &mut Apt::default())?;
    process::catch_signals();
    let report = measure(&kernel)?;
    let grown = before(&kernel)?.map(|before| grown(&before, &report)).unwrap_or_default();
    let page = page(&report);
    println!("{page}\ntook {} s", begin.elapsed().as_secs());
    if !grown.is_empty() && !options.accept {
        println!("{}", grown.join("\n"));
        println!("programs have grown by more than a tenth: `cargo xtask instructions --accept` writes that down");
        return Ok(ExitCode::FAILURE);
    }
    fs::write(shell::root().join(PAGE), page).with_context(|| format!("cannot write {PAGE}"))?;
    let text = serde_json::to_string_pretty(&report)? + "\n";
    fs::write(shell::root().join(FIGURES), text).with_context(|| format!("cannot write {FIGURES}"))?;
    println!("wrote {PAGE} and {FIGURES}");
    Ok(ExitCode::SUCCESS)
}

/// The figures that are written down, if they are of the same kernel.
fn before(kernel: &Kernel) -> Result<Option<Report>> {
    let path = shell::root().join(FIGURES);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {FIGURES}"))?;
    let report: Report = serde_json::from_str(&text).with_context(|| format!("cannot read {FIGURES}"))?;
    Ok((report.kernel == kernel.release).then_some(report))
}

fn measure(kernel: &Kernel) -> Result<Report> {
    let folder = shell::root().join(FOLDER).join("instructions");
    shell::remove_folder(&folder)?;
    let program: PathBuf = shell::root().join(build::BENCH);
    let mut arguments =
        ["--instructions", "--rounds", "1", "--milliseconds", MILLISECONDS, "--disk", "/bench"].to_vec();
    arguments.extend(LOADS.iter().flat_map(|load| ["--load", load]));
    let bench = Test {
        suite: "stemedb-bench".into(),
        name: "instructions".into(),
        program: program.clone(),
        modes: COMPARED.len(),
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        proof: MARK.into(),
        tells: true,
    };
    let programs = Programs::only(&bench.suite, program);
    let plan = Plan {
        binaries: shell::root().join("target/release"),
        scale: 1,
        limit: LIMIT,
        modes: COMPARED.iter().map(|mode| Some((*mode).to_owned())).collect(),
        tests: vec![bench],
    };
    let column = test_in_guest(kernel, 0, &plan, &programs, &folder, Clock::Instructions, KERNEL_LIMIT)?;
    report(kernel, &column)
}

fn report(kernel: &Kernel, column: &Column) -> Result<Report> {
    if let Some(problem) = &column.broken {
        bail!("{problem}");
    }
    let mut modes = BTreeMap::new();
    for (mode, said) in &column.told {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(MARK)).context("no figures")?;
        let figures = serde_json::from_str(line).with_context(|| format!("not figures: {line}"))?;
        modes.insert(COMPARED.get(*mode).copied().unwrap_or("?").to_owned(), figures);
    }
    ensure!(modes.len() == COMPARED.len(), "not every mode was measured: {:?}", column.problems);
    Ok(Report { kernel: kernel.release.clone(), modes })
}

/// The agent's programs that take more than a tenth more than before.
fn grown(before: &Report, now: &Report) -> Vec<String> {
    let flat = |report: &Report| -> BTreeMap<String, f64> {
        let rows = report.modes.iter().flat_map(|(mode, rows)| rows.iter().map(move |row| (mode, row)));
        let ours = rows.filter(|(_, row)| row.beside.starts_with(AGENT));
        let each = ours.flat_map(|(mode, row)| {
            let name = |one: &Cost| format!("{mode}, {}, {}: {}", row.load, row.beside, one.program);
            row.programs.iter().filter(|one| one.runs >= RARE).map(move |one| (name(one), one.ns)).collect::<Vec<_>>()
        });
        each.collect()
    };
    let before = flat(before);
    let line = |(name, ns): (String, f64)| {
        let was = *before.get(&name)?;
        let grown = ns > was * GROWTH && ns - was > SMALL;
        grown.then(|| format!("{name} {was:.0} -> {ns:.0} instructions"))
    };
    flat(now).into_iter().filter_map(line).collect()
}

fn page(report: &Report) -> String {
    let mut out = format!(
        "# Instructions\n\nWritten by `cargo xtask instructions`, with `instructions.json` beside it; do not edit.\n\n\
         QEMU runs Linux {} on one processor whose clock passes by one nanosecond with each instruction, so what the kernel's \
         statistics (`kernel.bpf_stats_enabled`) give are instructions, the statistics' own included: an empty program shows those. \
         All instructions of a call are those of the kernel and of the load itself, without the statistics; where a load waits \
         for a disk they are left out. Figures differ from run to run only where an interrupt comes between.\n",
        report.kernel
    );
    for (mode, rows) in &report.modes {
        out += &format!(
            "\n## {mode}\n\n| load | beside | all of a call | more | of our programs | of the floor | programs: instructions a run (runs) |\n\
             |---|---|---|---|---|---|---|\n"
        );
        for row in rows {
            let same =
                |beside: &str| rows.iter().find(|other| other.load == row.load && other.beside.starts_with(beside));
            let floor = same(FLOOR).filter(|floor| floor.all > 0.0 && row.all > 0.0);
            let of_floor = floor.map_or_else(String::new, |floor| format!("{:.2}", row.all / floor.all));
            let base = same(NOTHING).filter(|_| BUSY.iter().any(|word| row.load.contains(word)));
            let (call, more) = base.map_or_else(Default::default, |base| {
                (format!("{:.0}", row.call), format!("{:+.2} %", (row.call / base.call - 1.0) * 100.0))
            });
            let one = |one: &Cost| format!("`{}` {:.0} ({:.2})", one.program, one.ns, one.runs);
            let programs: Vec<String> = row.programs.iter().map(one).collect();
            let all = if row.all > 0.0 { format!("{:.0} a {}", row.all, row.unit) } else { String::new() };
            let cells = [&row.load, &row.beside, &call, &more, &all, &of_floor, &programs.join(", ")];
            out += &format!("| {} |\n", cells.map(String::as_str).join(" | "));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(beside: &str, ns: f64) -> Report {
        let row = Row {
            load: "writes to a tmpfs".into(),
            unit: "write".into(),
            beside: beside.into(),
            call: ns + 1000.0,
            all: ns,
            programs: vec![Cost { program: "p".into(), runs: 1.0, ns }],
        };
        Report { kernel: "k".into(), modes: BTreeMap::from([("fentry".into(), vec![row])]) }
    }

    #[test]
    fn the_page_compares_with_the_floor_and_with_nothing() {
        let mut all = report(NOTHING, 0.0);
        for (beside, ns) in [(FLOOR, 100.0), (AGENT, 250.0)] {
            all.modes.get_mut("fentry").unwrap().extend(report(beside, ns).modes.remove("fentry").unwrap());
        }
        let text = page(&all);
        assert!(text.contains("| the agent | 1250 | +25.00 % | 250 a write | 2.50 | `p` 250 (1.00) |"), "{text}");
    }

    #[test]
    fn a_program_of_ours_that_grows_by_more_than_a_tenth_is_told() {
        let all =
            |was, now| grown(&report("the agent, which watches it", was), &report("the agent, which watches it", now));
        assert_eq!(all(1000.0, 1090.0), [""; 0]);
        assert_eq!(all(100.0, 119.0), [""; 0], "small");
        assert_eq!(all(1000.0, 1110.0).len(), 1);
        assert_eq!(grown(&report("bpftrace", 1.0), &report("bpftrace", 1000.0)), [""; 0]);
    }
}
