//! Runs a plan, one test at a time, and tells what happens on standard output.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use stemedb_vm_init::{Event, Mode, Outcome, Plan, Test};

/// Bytes of a test's output that are told: its end.
const OUTPUT: usize = 32 << 10;
/// Who holds on to the output of a test longer than this was left behind by it.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// Whether who started this program has let go of it.
static ALONE: AtomicBool = AtomicBool::new(false);

/// Carries out the plan in a file. The end of standard input is an order to end, so that no test goes on alone when who
/// started this is killed.
pub(crate) fn run(path: &Path) -> Result<()> {
    thread::spawn(|| {
        // Whatever comes before the end means nothing.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ALONE.store(true, Ordering::Relaxed);
    });
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let plan: Plan = serde_json::from_str(&text).with_context(|| format!("{} is no plan", path.display()))?;
    let (doctor, _) = examine(&plan, &None)?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    tell(&Event::Ready { release, doctor })?;
    let mut before = 0;
    for (index, mode) in plan.modes.iter().enumerate() {
        let (_, problem) = examine(&plan, mode)?;
        let possible = problem.is_none();
        tell(&Event::Mode { mode: index, problem })?;
        if possible {
            run_tests(&plan, index, mode, before)?;
            before += 1;
        }
    }
    tell(&Event::Done)
}

/// Runs the tests that are for this mode; `before` of them were possible before.
fn run_tests(plan: &Plan, index: usize, mode: &Mode, before: usize) -> Result<()> {
    for (number, test) in plan.tests.iter().enumerate().filter(|(_, test)| test.runs_after(before)) {
        tell(&Event::Begin { mode: index, test: number })?;
        let begin = Instant::now();
        let (outcome, output) = run_test(plan, mode, test)?;
        let output = if outcome == Outcome::Passed && !test.tells { String::new() } else { output };
        tell(&Event::End { outcome, took: begin.elapsed(), output })?;
    }
    Ok(())
}

/// What the agent says of this kernel, and why it cannot run in a mode if it cannot.
fn examine(plan: &Plan, mode: &Mode) -> Result<(Value, Option<String>)> {
    let mut command = Command::new(plan.binaries.join("stemedb-probe"));
    command.args(["doctor", "--json"]).args(mode.iter().flat_map(|mode| ["--hooks", mode]));
    let output = command.output().context("cannot run stemedb-probe")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("stemedb-probe doctor --json, {}: {}", output.status, said.trim()))?;
    let problem = report["problem"].as_str().map(str::to_owned);
    ensure!(output.status.success() || problem.is_some(), "stemedb-probe doctor: {}", said.trim());
    Ok((report, problem))
}

fn run_test(plan: &Plan, mode: &Mode, test: &Test) -> Result<(Outcome, String)> {
    let mut command = Command::new(&test.program);
    command.args(&test.arguments);
    command.env("STEMEDB_BINARIES", &plan.binaries).env("STEMEDB_TEST_SCALE", plan.scale.to_string());
    command.envs(mode.iter().map(|mode| ("STEMEDB_TEST_HOOKS", mode)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    // Both streams into one pipe, so that they are told in the order in which they were written.
    let (reader, writer) = std::io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot run {}", test.program.display()))?;
    drop(command);
    let output = collect(reader);
    let status = wait_for(&mut child, plan.limit)?;
    if status.is_none() {
        killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL)?;
        child.wait()?;
    }
    if ALONE.load(Ordering::Relaxed) {
        bail!("told to end");
    }
    let said = output.recv_timeout(LEFT_BEHIND).unwrap_or_else(|_| "(its output is still held by a process)".into());
    Ok((outcome(status, &said, &test.proof), said))
}

fn outcome(status: Option<ExitStatus>, output: &str, proof: &str) -> Outcome {
    match status {
        None => Outcome::TimedOut,
        Some(status) if status.success() && output.contains(proof) => Outcome::Passed,
        Some(_) => Outcome::Failed,
    }
}

fn wait_for(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    while Instant::now() < end && !ALONE.load(Ordering::Relaxed) {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}

/// Reads to the end, and keeps the last part.
fn collect(mut reader: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut block = [0; 4096];
        while let Ok(n @ 1..) = reader.read(&mut block) {
            bytes.extend_from_slice(&block[..n]);
            if bytes.len() > 2 * OUTPUT {
                bytes.drain(..bytes.len() - OUTPUT);
            }
        }
        bytes.drain(..bytes.len().saturating_sub(OUTPUT));
        // Who waited for it may have given up.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

fn tell(event: &Event) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", event.line()?)?;
    Ok(out.flush()?)
}
