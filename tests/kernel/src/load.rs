//! A running load, which counts its own calls.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use stemedb_workload::Tally;

use crate::binary;

/// A load that is stopped when this is dropped.
pub struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Load {
    /// Starts `stemedb-workload` and waits until it is ready; it makes no counted call before [`Load::go`].
    pub fn start<S: AsRef<OsStr>>(args: &[S]) -> Result<Self> {
        let mut command = Command::new(binary("stemedb-workload")?);
        command.args(args);
        Self::start_command(command)
    }

    /// The same for a command that ends in running it.
    pub fn start_command(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut load = Self { child, stdin, stdout };
        let ready = load.line()?;
        if !ready.starts_with("ready ") {
            bail!("the load did not get ready: {ready:?}");
        }
        Ok(load)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line)
    }

    fn next(&mut self) -> Result<()> {
        Ok(self.stdin.as_mut().context("no stdin")?.write_all(b"go\n")?)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it begin.
    pub fn go(&mut self) -> Result<()> {
        self.next()
    }

    /// Waits for what it has counted; the process is still there.
    pub fn tally(&mut self) -> Result<Tally> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("not a tally: {line:?}"))
    }

    /// Waits for the line as it is.
    pub fn json(&mut self) -> Result<serde_json::Value> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))
    }

    /// Lets a load that runs until it is told begin its end.
    pub fn stop(&mut self) -> Result<()> {
        self.next()
    }

    /// Waits until a load of two halves has done the first; [`Load::go`] lets it begin the second.
    pub fn half_time(&mut self) -> Result<()> {
        match self.line()?.trim() {
            "half" => Ok(()),
            other => bail!("the load said {other:?} at half-time"),
        }
    }

    /// From begin to end.
    pub fn run(&mut self) -> Result<Tally> {
        self.go()?;
        self.tally()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `stemedb-workload` under another file name, by which the kernel names its process.
pub fn renamed(dir: &Path, name: &OsStr) -> Result<Command> {
    let link = dir.join(name);
    std::os::unix::fs::symlink(binary("stemedb-workload")?, &link).with_context(|| link.display().to_string())?;
    Ok(Command::new(link))
}
