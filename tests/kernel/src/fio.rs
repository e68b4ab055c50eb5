//! fio, a load that is not ours and counts for itself.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::outcome::Outcome;

/// What fio says that its one job did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Writes.
    pub writes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Syncs.
    pub syncs: u64,
}

/// Random writes to a file in `dir` with more arguments. Nothing is written before the job begins.
pub fn run(dir: &Path, args: &[&str]) -> Result<Counts> {
    let mut command = Command::new("fio");
    command.args([
        "--name=job",
        "--rw=randwrite",
        "--bs=512-16k",
        "--size=8m",
        "--fallocate=none",
        "--output-format=json",
    ]);
    command.arg(format!("--directory={}", dir.display())).args(args);
    let job = &job(&mut command)?;
    let number = |value: &Value| value.as_u64().with_context(|| format!("not fio's report: {job}"));
    Ok(Counts {
        writes: number(&job["write"]["total_ios"])?,
        bytes: number(&job["write"]["io_bytes"])?,
        // `total_ios` of 3.33 leaves out the fdatasyncs.
        syncs: number(&job["sync"]["lat_ns"]["N"])?,
    })
}

/// What fio reports of its one job, which must not have failed. The command asks for JSON.
pub fn job(command: &mut Command) -> Result<Value> {
    let outcome = Outcome::of(command).context("cannot run fio; `cargo xtask setup --tests` installs it")?;
    ensure!(outcome.code == Some(0), "{outcome:?}");
    // Warnings of fio stand before its JSON.
    let json = outcome.stdout.find('{').and_then(|at| outcome.stdout.get(at..)).context("no JSON of fio's")?;
    let mut report: Value = serde_json::from_str(json)?;
    let job = report["jobs"][0].take();
    ensure!(job["error"] == 0, "fio's job has failed: {job}");
    Ok(job)
}
