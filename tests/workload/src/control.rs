//! The handshake with whoever started the load, and its progress.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

/// Standard input as a source of go-aheads, and standard output as the place of the result.
pub(crate) struct Control {
    lines: Mutex<Receiver<()>>,
}

impl Control {
    /// Refuses a regular file as standard output: writes to it would be counted by the agent under test, but not
    /// by the load.
    pub(crate) fn new() -> Result<Self> {
        ensure!(!is_regular(io::stdout())?, "standard output is a regular file; use a pipe, such as `| cat`");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for _ in io::stdin().lock().lines().map_while(Result::ok) {
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { lines: Mutex::new(lines) })
    }

    /// Says that everything is prepared, and waits for the first line.
    pub(crate) fn ready(&self) -> Result<()> {
        announce()?;
        self.wait();
        Ok(())
    }

    fn lines(&self) -> MutexGuard<'_, Receiver<()>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a line or the end of standard input.
    pub(crate) fn wait(&self) {
        self.lines().recv().ok();
    }

    /// Says that the first half is done, and waits for a line.
    pub(crate) fn half_time(&self) -> Result<()> {
        say("half")?;
        self.wait();
        Ok(())
    }

    /// As [`Control::wait`], but only for so long; whether there was a line (or the end).
    pub(crate) fn wait_for(&self, time: Duration) -> bool {
        self.lines().recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }

    /// Prints the result and waits for the last line.
    pub(crate) fn finish(&self, result: &impl Serialize) -> Result<()> {
        report(result)?;
        self.wait();
        Ok(())
    }
}

/// Says that everything is prepared.
pub(crate) fn announce() -> Result<()> {
    say(&format!("ready {}", std::process::id()))
}

/// Prints the result.
pub(crate) fn report(result: &impl Serialize) -> Result<()> {
    say(&serde_json::to_string(result)?)
}

/// Prints a line at once.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Whether a word about progress may go to standard error: not when it would be a counted write to a file.
pub(crate) fn may_tell_progress() -> bool {
    is_regular(io::stderr()).is_ok_and(|regular| !regular)
}

fn is_regular(stream: impl AsFd) -> io::Result<bool> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?).metadata()?.is_file())
}
