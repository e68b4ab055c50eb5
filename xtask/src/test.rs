//! `cargo xtask test`: everything that must hold for a change, in the order in which a failure is cheapest.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{boards, build, cross, docs, ebpf, setup, shell, view};

type Action = fn() -> Result<()>;

/// The steps; those with `false` are left out by `--fast`.
const STEPS: &[(&str, bool, Action)] = &[
    ("set up", true, set_up),
    ("format", true, || shell::run(shell::cargo().args(["fmt", "--all", "--check"]))),
    ("build", true, build_all),
    ("build for arm64", true, cross::try_arm64),
    ("lint", true, || {
        shell::run(shell::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    }),
    ("lint the kernel side", true, ebpf::lint),
    ("dependencies", true, || {
        shell::run(shell::cargo().args(["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]))
    }),
    ("unit tests", true, || {
        shell::run(shell::cargo().args(["test", "--no-fail-fast", "--workspace", "--exclude", "stemedb-kernel-tests"]))
    }),
    ("boards", true, boards::check),
    ("cost of recording", true, || shell::run(shell::cargo().args(["bench", "-p", "stemedb-metrics"]))),
    ("cluster that is cut in two", false, || as_root(&["-p", "stemedb-node", "--test", "cluster", "--", "--ignored"])),
    ("the stack's commands", false, || {
        as_root(&["--release", "-p", "stemedb-stack", "--test", "command", "--test", "compose", "--", "--ignored"])
    }),
    ("faults and alerts", false, || shell::run(&mut live(FAST))),
    ("kernel tests", false, || kernel_tests(&["--", "--test-threads=1"])),
    ("attached 1,000 times", false, || kernel_tests(&["--test", "attach", "--", "--test-threads=1", "--ignored"])),
    ("documents", true, docs::compare),
];

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Passed(Duration),
    Failed(Duration),
    LeftOut,
    NotReached,
}

/// Runs the steps up to the first that fails.
pub(crate) fn all(fast: bool) -> ExitCode {
    let ends = run(STEPS, fast);
    println!("\n{}", summary(STEPS.iter().map(|(name, ..)| *name).zip(ends.iter().copied())));
    let failed = STEPS.iter().zip(&ends).find(|(_, end)| matches!(end, End::Failed(_)));
    match failed {
        Some(((name, ..), _)) => {
            println!("failed: {name}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn run(steps: &[(&str, bool, Action)], fast: bool) -> Vec<End> {
    let mut failed = false;
    let mut ends = Vec::new();
    for (name, always, action) in steps {
        ends.push(if failed {
            End::NotReached
        } else if fast && !always {
            End::LeftOut
        } else {
            println!("\n== {name} ==");
            let start = Instant::now();
            match action() {
                Ok(()) => {
                    println!("{name}: passed in {}", view::seconds(start.elapsed().as_secs_f64()));
                    End::Passed(start.elapsed())
                }
                Err(error) => {
                    eprintln!("{name}: FAILED: {error:#}");
                    failed = true;
                    End::Failed(start.elapsed())
                }
            }
        });
    }
    ends
}

fn summary<'a>(ends: impl Iterator<Item = (&'a str, End)>) -> String {
    let rows: Vec<Vec<String>> = ends
        .map(|(name, end)| {
            let (word, time) = match end {
                End::Passed(time) => ("passed", view::seconds(time.as_secs_f64())),
                End::Failed(time) => ("FAILED", view::seconds(time.as_secs_f64())),
                End::LeftOut => ("left out (--fast)", String::new()),
                End::NotReached => ("not reached", String::new()),
            };
            vec![name.to_owned(), word.to_owned(), time]
        })
        .collect();
    view::table(&["step", "result", "time"], &rows, 2).join("\n")
}

fn set_up() -> Result<()> {
    setup::command(setup::Options { tests: true, lint: true, ..setup::Options::default() }).map(|_| ())
}

fn build_all() -> Result<()> {
    build::agent()?;
    build::workload()?;
    build::node()?;
    build::stack()
}

fn kernel_tests(arguments: &[&str]) -> Result<()> {
    as_root(&[&["--release", "--no-fail-fast", "-p", "stemedb-kernel-tests"], arguments].concat())
}

/// The live test whose steps take a tenth of their time.
pub(crate) const FAST: &str = "ten_times_as_fast";

/// A live test of the stack.
pub(crate) fn live(name: &str) -> Command {
    let arguments =
        ["--release", "-p", "stemedb-stack", "--test", "live", "--", "--ignored", "--nocapture", "--exact", name];
    // In a mount namespace of its own: whatever ends it, nothing stays mounted.
    test_as_root(&["unshare", "--mount"], &arguments)
}

/// Tests that load programs into the kernel or make network namespaces, hence as root: only they, not the build of them.
fn as_root(arguments: &[&str]) -> Result<()> {
    shell::run(&mut test_as_root(&[], arguments))
}

fn test_as_root(under: &[&str], arguments: &[&str]) -> Command {
    let mut cargo = shell::cargo();
    cargo.arg("test");
    let sudo: &[&str] = if shell::is_root() { &[] } else { &["sudo", "-E"] };
    let runner = [sudo, under].concat();
    if !runner.is_empty() {
        cargo.arg("--config").arg(format!("target.'cfg(unix)'.runner = {runner:?}"));
    }
    cargo.args(arguments);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stop_at_the_first_failure() {
        let steps: &[(&str, bool, Action)] = &[
            ("one", true, || Ok(())),
            ("slow", false, || Err(anyhow::anyhow!("never called"))),
            ("two", true, || Err(anyhow::anyhow!("broken"))),
            ("three", true, || Ok(())),
        ];
        let ends = run(steps, true);
        assert!(matches!(ends[..], [End::Passed(_), End::LeftOut, End::Failed(_), End::NotReached]));
        let text = summary(steps.iter().map(|(name, ..)| *name).zip(ends));
        assert!(
            text.contains("FAILED") && text.contains("left out (--fast)") && text.contains("not reached"),
            "{text}"
        );
    }
}
