//! Processes that a task starts. Each is in a process group of its own, so that Ctrl-C reaches this program alone,
//! which then stops them in order; neither outlives its guard.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell;

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// From now on the signals that end a program only make [`stopped`] true.
pub(crate) fn catch_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        unsafe { libc::signal(signal, stop as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Whether the user wants an end.
pub(crate) fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// A program that says something in lines.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    pub(crate) fn start(name: &'static str, mut command: Command, log: &File) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start the {name}"))?;
        let output = child.stdout.take().with_context(|| format!("the {name} has no pipe"))?;
        let (sender, lines) = mpsc::channel();
        // Reading from a pipe knows no time limit; a channel does.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name, child, lines })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says, if it says one in time.
    pub(crate) fn line(&self, limit: Duration) -> Result<Option<String>> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the {} ended early", self.name),
        }
    }

    /// The next line; nothing where the user stopped this program.
    pub(crate) fn await_line(&self, limit: Duration) -> Result<Option<String>> {
        let start = Instant::now();
        while !stopped() {
            if let Some(line) = self.line(Duration::from_millis(50))? {
                return Ok(Some(line));
            }
            ensure!(start.elapsed() < limit, "the {} says nothing within {} s", self.name, limit.as_secs());
        }
        Ok(None)
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let told = shell::run(shell::command("kill").args(["-s", "TERM", &self.pid().to_string()]));
        told.with_context(|| format!("the {} has ended already", self.name))?;
        match wait(&mut self.child, Duration::from_secs(10))? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the {} failed: {status}", self.name),
            None => bail!("the {} does not end", self.name),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agent, which runs as root.
pub(crate) struct Agent {
    child: Child,
}

impl Agent {
    pub(crate) fn start(program: &OsStr, arguments: &[String], log: &File) -> Result<Self> {
        if !shell::is_root() {
            // Asks for the password here, where the terminal is still this program's.
            shell::run(shell::command("sudo").arg("-v"))?;
        }
        let mut command = shell::privileged(program)?;
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let child = command.process_group(0).spawn().context("cannot start the agent")?;
        Ok(Self { child })
    }

    /// An error where it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the agent ended early: {status}"),
            None => Ok(()),
        }
    }

    /// Stops it, and waits for its end.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.signal("TERM")?;
        match wait(&mut self.child, Duration::from_secs(10))? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the agent failed: {status}"),
            None => bail!("the agent does not stop on SIGTERM"),
        }
    }

    fn signal(&self, name: &str) -> Result<()> {
        shell::run(shell::privileged("kill")?.args(["-s", name, &self.child.id().to_string()]))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let running = |child: &mut Child, limit| !matches!(wait(child, limit), Ok(Some(_)));
        if running(&mut self.child, Duration::ZERO) {
            // An error here can only be told; the demo ends either way.
            let _ = self.signal("TERM");
            if running(&mut self.child, Duration::from_secs(5)) {
                let _ = self.signal("KILL");
                let _ = self.child.wait();
            }
        }
    }
}

/// Waits for the end of a process, up to a limit.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}
