//! A command that runs to its end, and what it said.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::{binary, wait_for};

/// A generous limit for a command that is to end by itself.
const LIMIT: Duration = Duration::from_mins(1);

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Outcome {
    /// Runs a command; one that does not end is killed, and is an error.
    pub fn of(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let status = wait_for("the command's end", LIMIT, || child.try_wait().ok().flatten());
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let text =
            |reader: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned();
        let (stdout, stderr) = (text(stdout), text(stderr));
        match status {
            Ok(status) => Ok(Self { code: status.code(), stdout, stderr }),
            Err(error) => bail!("{command:?}: {error:#}; it said:\n{stdout}{stderr}"),
        }
    }

    /// Runs `stemedb-probe` with arguments.
    pub fn of_probe<S: AsRef<OsStr>>(args: &[S]) -> Result<Self> {
        Self::of(Command::new(binary("stemedb-probe")?).args(args))
    }

    /// Fails unless it ended with this status, and complained in all of these words and without a panic.
    pub fn complains(&self, code: i32, words: &[&str]) -> Result<()> {
        if self.code != Some(code) {
            bail!("status {code} was expected: {self:?}");
        }
        if let Some(word) = words.iter().find(|word| !self.stderr.contains(**word)) {
            bail!("{word:?} is not in the message: {self:?}");
        }
        match ["panicked", "RUST_BACKTRACE"].into_iter().find(|word| self.stderr.contains(word)) {
            Some(_) => bail!("it panicked: {self:?}"),
            None => Ok(()),
        }
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}
