//! Real databases from Debian's packages, under strace, on loopback or a socket in a temporary folder; stopped when dropped.

pub mod etcd;
pub mod postgres;
pub mod redis;

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::agent::{Agent, Status};
use crate::strace::{self, Count, Counts};
use crate::wait_for;

/// A generous limit for a start, a stop and a figure that comes late.
pub const SOON: Duration = Duration::from_mins(1);

/// A server under strace.
pub struct Server {
    strace: Child,
    dir: PathBuf,
    /// What makes it end in good order.
    stop: libc::c_int,
}

impl Server {
    /// Starts a command of [`strace::command`]; what the server says goes to a file in `dir`.
    fn start(mut command: Command, dir: &Path, stop: libc::c_int) -> Result<Self> {
        let log = File::create(dir.join("server.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let strace = command.spawn().context("cannot run strace; `cargo xtask setup --tests` installs it")?;
        Ok(Self { strace, dir: dir.to_owned(), stop })
    }

    /// Waits until `check` gives something; fails at once when the server has ended.
    fn ready<T>(&mut self, what: &str, mut check: impl FnMut() -> Option<T>) -> Result<T> {
        let strace = &mut self.strace;
        let found = wait_for(what, SOON, || match strace.try_wait() {
            Ok(None) => check().map(Some),
            _ => Some(None),
        });
        let log = || std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
        found.and_then(|found| found.context("the server has ended")).with_context(log)
    }

    /// The server's own process: the child of strace.
    fn pid(&self) -> Option<libc::pid_t> {
        let id = self.strace.id();
        std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?.split(' ').next()?.parse().ok()
    }

    fn signal(&self, signal: libc::c_int) {
        if let Some(pid) = self.pid() {
            // SAFETY: strace waits for its child, so the pid is still the child's.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Ends it in good order.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(self.stop);
        let strace = &mut self.strace;
        let status = wait_for("the server's end", SOON, || strace.try_wait().ok().flatten())?;
        // etcd ends by the signal that it was sent, after it has put everything in order.
        ensure!(
            status.success() || status.signal() == Some(self.stop),
            "the server ended with {status}; it said:\n{}",
            self.log()
        );
        Ok(())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.strace.try_wait(), Ok(None)) && self.stop().is_err() {
            // strace ends with its child.
            self.signal(libc::SIGKILL);
            let strace = &mut self.strace;
            let _ = wait_for("the server's end", SOON, || strace.try_wait().ok().flatten());
        }
    }
}

/// Starts an agent with a profile. A database of that kind that runs already would be counted as well.
pub fn agent(args: &[&str]) -> Result<Agent> {
    let agent = Agent::start(args)?;
    let others: u64 = agent.status()?.targets.iter().map(|target| target.process_count).sum();
    ensure!(others == 0, "{others} process(es) that match {args:?} run on this machine: stop them for this test");
    Ok(agent)
}

/// Fails unless the agent has counted for this target what strace has, to the unit, and has lost nothing.
pub fn equal(status: &Status, target: &str, dir: &Path, class: fn(&Path) -> &'static str) -> Result<()> {
    equal_with(status, target, dir, class, None)
}

/// The same where all writes of one operation to one class go to files that are open with `O_DSYNC`, which strace does not
/// show: each is a sync as well.
pub fn equal_with(
    status: &Status,
    target: &str,
    dir: &Path,
    class: fn(&Path) -> &'static str,
    durable: Option<(&str, &str)>,
) -> Result<()> {
    let (kernel, mut strace) = (counted(status, target), strace::counts(dir, class)?);
    if let Some((class, op)) = durable {
        let calls = strace.get(&(class.to_owned(), op.to_owned())).map_or(0, |count| count.calls);
        strace.insert((class.to_owned(), "o_dsync".to_owned()), Count { calls, ..Count::default() });
    }
    let mut rows: Vec<_> = kernel.keys().chain(strace.keys()).collect();
    rows.sort();
    rows.dedup();
    let show = |counts: &Counts, row| counts.get(row).copied().unwrap_or_default();
    let wrong = rows.into_iter().filter(|row| show(&kernel, row) != show(&strace, row));
    let mut wrong: Vec<String> = wrong
        .map(|row| format!("{} {}: kernel {:?}, strace {:?}", row.0, row.1, show(&kernel, row), show(&strace, row)))
        .collect();
    wrong.extend(status.losses().iter().map(|(reason, n)| format!("lost {n} ({reason})")));
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("the kernel and strace counted differently:\n  {}", wrong.join("\n  "))
}

/// What the agent has counted for a target.
pub fn counted(status: &Status, target: &str) -> Counts {
    let mut counts = Counts::new();
    let mut add = |class: &str, op: &str, more: Count| {
        let count = counts.entry((class.to_owned(), op.to_owned())).or_default();
        count.calls += more.calls;
        count.bytes += more.bytes;
        count.failed += more.failed;
    };
    for row in status.series.iter().filter(|row| row.target == target) {
        add(&row.class, &row.op, Count { calls: row.calls, ..Count::default() });
    }
    for row in status.writes.iter().filter(|row| row.target == target) {
        for op in &row.ops {
            add(&row.class, &op.op, Count { calls: op.calls, bytes: op.bytes, failed: 0 });
        }
    }
    for row in status.errors.iter().filter(|row| row.target == target) {
        add(&row.class, &row.op, Count { failed: row.count, ..Count::default() });
    }
    counts.retain(|_, count| *count != Count::default());
    counts
}

/// One of [`counted`].
pub fn count_of(status: &Status, target: &str, class: &str, op: &str) -> Count {
    counted(status, target).remove(&(class.to_owned(), op.to_owned())).unwrap_or_default()
}

/// Whether a path is in a directory of this name, or is one.
pub fn within(path: &Path, name: &str) -> bool {
    path.components().any(|part| part.as_os_str() == name)
}

/// What a program prints that must succeed.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}; `cargo xtask setup --tests` installs it"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
