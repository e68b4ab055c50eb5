//! A running `stemedb-probe trace`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use crate::agent::{hooks, log_of};
use crate::{binary, wait_for};

/// A generous limit for what takes a second.
const SOON: Duration = Duration::from_secs(30);

/// A sync call as `--json` tells it.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in the output")]
pub struct Call {
    pub time: String,
    pub target: String,
    pub pid: u32,
    pub tid: u32,
    pub comm: String,
    pub op: String,
    pub class: String,
    pub path: Option<String>,
    pub unlinked: bool,
    pub inode: u64,
    pub device: String,
    pub writes: u64,
    pub bytes: u64,
    pub error: Option<String>,
    pub total_ns: u64,
    pub phases_ns: BTreeMap<String, u64>,
    pub undivided: bool,
}

impl Call {
    /// Nanoseconds of a phase.
    pub fn phase(&self, phase: &str) -> u64 {
        self.phases_ns.get(phase).copied().unwrap_or_default()
    }

    /// All phases together.
    pub fn parts(&self) -> u64 {
        self.phases_ns.values().sum()
    }
}

/// Nanoseconds of a phase of all calls.
pub fn sum(calls: &[Call], phase: &str) -> u64 {
    calls.iter().map(|call| call.phase(phase)).sum()
}

/// Nanoseconds of all calls.
pub fn total(calls: &[Call]) -> u64 {
    calls.iter().map(|call| call.total_ns).sum()
}

/// A trace that is stopped when this is dropped.
pub struct Trace {
    child: Child,
    output: Option<JoinHandle<std::io::Result<String>>>,
    log: Arc<Mutex<String>>,
}

impl Trace {
    /// Starts it and waits until it counts.
    pub fn start<S: AsRef<str>>(args: &[S]) -> Result<Self> {
        let mut child = Command::new(binary("stemedb-probe")?)
            .arg("trace")
            .args(hooks())
            .args(args.iter().map(AsRef::as_ref))
            .env("RUST_LOG", "info,aya=warn,aya_obj=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut stdout, stderr) =
            (child.stdout.take().context("no stdout")?, child.stderr.take().context("no stderr")?);
        let output = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let log = log_of(stderr);
        let mut trace = Self { child, output: Some(output), log };
        let ready = wait_for("the trace's start", SOON, || {
            let ended = matches!(trace.child.try_wait(), Ok(Some(_)));
            (ended || trace.log().contains("tracing")).then_some(!ended)
        })?;
        ensure!(ready, "the trace ended at once; it said:\n{}", trace.log());
        Ok(trace)
    }

    /// Every sync call of a process on a class directory, as JSON, and what `more` asks for.
    pub fn of(pid: u32, wal: &Path, more: &[&str]) -> Result<Self> {
        let target = format!("t:pid={pid}");
        let class = format!("t:wal={}", wal.display());
        let args = ["--json", "--slower-than", "0", "--target", &target, "--class", &class];
        Self::start(&[&args, more].concat())
    }

    /// What it has said to its user.
    pub fn log(&self) -> String {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    /// The same, also of its end.
    pub fn shared_log(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.log)
    }

    /// Ends it as Ctrl-C does; its exit status and all its output.
    pub fn interrupt(mut self) -> Result<(ExitStatus, String)> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: the child has not been waited for, so its pid is its own.
        if unsafe { libc::kill(pid, libc::SIGINT) } != 0 {
            return Err(std::io::Error::last_os_error()).context("kill");
        }
        self.end()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Result<(ExitStatus, String)> {
        self.end()
    }

    fn end(&mut self) -> Result<(ExitStatus, String)> {
        let child = &mut self.child;
        let status = wait_for("the trace's end", SOON, || child.try_wait().ok().flatten())?;
        let output = self.output.take().context("it has ended before")?;
        let output = output.join().map_err(|_| anyhow!("a thread panicked"))??;
        Ok((status, output))
    }

    /// Ends it, and gives the calls of class `wal`.
    pub fn calls(self) -> Result<Vec<Call>> {
        let (status, output) = self.interrupt()?;
        ensure!(status.success(), "{status}");
        let calls = output.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
        let calls: Vec<Call> = calls.collect::<Result<_>>()?;
        Ok(calls.into_iter().filter(|call| call.class == "wal").collect())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
