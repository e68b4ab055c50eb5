//! `cargo xtask vm-test`: the kernel tests on other kernels, and on this one.

mod column;
mod image;
pub(crate) mod instructions;
mod kernels;
mod programs;
mod report;
mod results;
mod run;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use stemedb_vm_init::{Mode, Plan};

use column::Column;
use kernels::Kernel;
use programs::Programs;
use run::Clock;

use crate::apt::Apt;
use crate::{build, process, setup, shell};

/// The kernel that runs here.
const HOST: &str = "host";
/// The mode in which the agent is told nothing.
const AUTO: &str = "auto";
/// Kernels and modes that make up the whole table. What differs in no mode runs in the first, in which the agent starts in a ninth
/// of the time.
const KERNELS: [&str; 3] = ["6.1", "6.12", HOST];
const MODES: [&str; 3] = ["tracepoint", "fentry", "raw-tracepoint"];
/// Where the table is written when it is whole.
const PAGE: &str = "docs/kernels.md";
/// What is made for the guests, from the top folder.
const FOLDER: &str = "target/vm";
/// What one test may take.
const TEST_LIMIT: Duration = Duration::from_mins(2);
/// What one kernel may take.
const KERNEL_LIMIT: Duration = Duration::from_mins(10);
/// Guests of one kernel at a time, each with a share of the tests: much of an agent's start in one is waiting, for the kernel
/// to change its own code. Three keep two processors busy.
const GUESTS: usize = 3;
/// An emulated processor sometimes dies of an `int3` while a kernel patches itself, long before any program of ours runs
/// (seen once in some twenty boots of 6.12). A machine that came up is never started again.
const BOOTS: u32 = 2;
/// A processor in software is some twenty times slower.
const GUEST_SCALE: u64 = 20;

/// Run the kernel tests on other kernels under QEMU and on this one, and write docs/kernels.md
///
/// Each KERNEL is a version of Debian's cloud kernel: the newest package that apt knows of it is fetched, unpacked below
/// ~/.cache/stemedb-probe (or XDG_CACHE_HOME), and booted under QEMU with processors in software, which needs neither
/// KVM nor root; three guests share the tests of a kernel. Nothing is installed but QEMU and a few tools. `host` is the kernel
/// that runs here; its tests run as root.
///
/// In every hook mode each test of the table (xtask/src/vm/programs.rs) runs by itself, with the agent told to use that mode
/// (`--hooks`). A mode that a kernel refuses is shown as `-` with the kernel's reason. A guest that panics, hangs or takes
/// longer than ten minutes is ended, and the last lines of its console are shown; all of it is in
/// target/vm/KERNEL/GUEST/console.log.
///
/// The page docs/kernels.md is written once all kernels were tested on the same commit, in one run or one after the other, in
/// all modes and with all tests.
/// The exit status is 0 when every test that can run has passed.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Versions, such as 6.1 or 6.12.113, or `host`
    #[arg(value_name = "KERNEL", default_values_t = KERNELS.map(str::to_owned))]
    kernels: Vec<String>,
    /// Hook modes: tracepoint, fentry, raw-tracepoint, or auto for the agent's own choice
    #[arg(long, value_name = "MODE", value_delimiter = ',', default_values_t = MODES.map(str::to_owned))]
    hooks: Vec<String>,
    /// Only tests with this in their SUITE::NAME
    #[arg(long, value_name = "WORD", default_value = "", hide_default_value = true)]
    test: String,
}

impl Options {
    /// Whether a kernel's column is all that there is to know of it.
    fn whole(&self) -> bool {
        self.hooks == MODES && self.test.is_empty()
    }
}

/// The command.
pub(crate) fn command(options: &Options) -> Result<ExitCode> {
    let begin = Instant::now();
    setup::for_vm()?;
    build::agent()?;
    build::workload()?;
    build::vm_init()?;
    let programs = Programs::build()?;
    let mut apt = Apt::default();
    // All of them first: what cannot be had is known before minutes have passed.
    let kernels = options.kernels.iter().map(|asked| match asked.as_str() {
        HOST => Ok(None),
        asked => Kernel::fetch(asked, &mut apt).map(Some),
    });
    let kernels = kernels.collect::<Result<Vec<_>>>()?;
    process::catch_signals();
    let mut columns = Vec::new();
    for kernel in &kernels {
        if !process::stopped() {
            let column = test(kernel.as_ref(), options, &programs)?;
            if options.whole() && !process::stopped() {
                results::keep(&column)?;
            }
            columns.push(column);
        }
    }
    let modes: Vec<&str> = options.hooks.iter().map(String::as_str).collect();
    println!("\n{}\n\ntook {} s", report::terminal(&columns, &modes), begin.elapsed().as_secs());
    if let Some(all) = results::all(&KERNELS) {
        fs::write(shell::root().join(PAGE), report::page(&all, &MODES)).with_context(|| PAGE.to_owned())?;
        println!("wrote {PAGE}");
    }
    let fine = columns.len() == kernels.len() && columns.iter().all(Column::fine);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tests one kernel; `None` is the host's.
fn test(kernel: Option<&Kernel>, options: &Options, programs: &Programs) -> Result<Column> {
    let plan = plan(options, programs, kernel.is_none())?;
    let asked = kernel.map_or(HOST, |kernel| &kernel.asked);
    let folder = shell::root().join(FOLDER).join(asked);
    shell::remove_folder(&folder)?;
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let Some(kernel) = kernel else {
        println!("\n== {asked} ==");
        let mut column = Column::new(asked, None, &plan);
        run::host(&mut column, &plan, &folder, KERNEL_LIMIT)?;
        return Ok(column);
    };
    println!("\n== {asked}: {} {}, in {GUESTS} guests ==", kernel.release, kernel.version);
    let shares: Vec<Plan> =
        (0..GUESTS).map(|guest| share(&plan, guest)).filter(|plan| !plan.tests.is_empty()).collect();
    let columns = thread::scope(|scope| {
        let guests: Vec<_> = shares
            .iter()
            .enumerate()
            .map(|(guest, plan)| {
                let folder = folder.join(guest.to_string());
                scope.spawn(move || test_in_guest(kernel, guest, plan, programs, &folder, Clock::Wall, KERNEL_LIMIT))
            })
            .collect();
        let join = |guest: thread::ScopedJoinHandle<'_, Result<Column>>| {
            guest.join().map_err(|_| anyhow!("the thread that follows a guest has panicked"))?
        };
        guests.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let mut column = Column::new(asked, Some(kernel.version.clone()), &plan);
    for part in columns {
        column.join(part);
    }
    Ok(column)
}

/// What one guest of several does: every so manieth test, because neighbours in the table take alike.
fn share(plan: &Plan, guest: usize) -> Plan {
    Plan { tests: plan.tests.iter().skip(guest).step_by(GUESTS).cloned().collect(), ..plan.clone() }
}

fn test_in_guest(
    kernel: &Kernel,
    guest: usize,
    plan: &Plan,
    programs: &Programs,
    folder: &Path,
    clock: Clock,
    limit: Duration,
) -> Result<Column> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let image = image::make(kernel, plan, programs, folder)?;
    let name = format!("{}#{guest}", kernel.asked);
    let new = || Column::new(&name, Some(kernel.version.clone()), plan);
    let mut column = new();
    for boot in 1..=BOOTS {
        println!("booting     {name}: {}", kernel.image().display());
        run::guest(&mut column, plan, &image, &kernel.image(), limit, clock)?;
        if column.is_up() || boot == BOOTS || process::stopped() {
            break;
        }
        println!("{name} did not come up; once more");
        column = new();
    }
    Ok(column)
}

fn plan(options: &Options, programs: &Programs, host: bool) -> Result<Plan> {
    let mut tests = programs.tests(host)?;
    tests.retain(|test| format!("{}::{}", test.suite, test.name).contains(&options.test));
    ensure!(host || !tests.is_empty(), "no test has `{}` in its name", options.test);
    let mode = |mode: &String| -> Mode { (mode != AUTO).then(|| mode.clone()) };
    Ok(Plan {
        binaries: shell::root().join("target/release"),
        scale: if host { 1 } else { GUEST_SCALE },
        limit: TEST_LIMIT,
        modes: options.hooks.iter().map(mode).collect(),
        tests,
    })
}
