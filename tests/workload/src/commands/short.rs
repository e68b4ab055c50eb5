//! Many processes, each of which lives just long enough for one write and one fsync.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use stemedb_workload::{Op, Tally, sys};
use tempfile::TempDir;

use super::share;
use crate::control::Control;

const CHILD: &str = "short-child";
const DATA: [u8; 100] = [b's'; 100];

/// Starts many short-lived processes, each of which writes 100 bytes and syncs them
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the files
    #[arg(long)]
    dir: PathBuf,
    /// Processes, one after another
    #[arg(long)]
    count: u64,
    /// Processes at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    concurrency: u64,
    /// Class of the directory
    #[arg(long, default_value = "wal")]
    class: String,
    /// Fork only, without exec
    #[arg(long)]
    fork: bool,
    /// Exec under this file name
    #[arg(long, value_name = "NAME", conflicts_with = "fork")]
    comm: Option<String>,
    /// Take this name by prctl after start
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,
}

/// How the children are started.
enum Start {
    Fork,
    /// Exec of this path.
    Exec(PathBuf),
}

/// Lives the short life if this process was started for it.
pub(crate) fn child() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != OsStr::new(CHILD) {
        return None;
    }
    let path = args.next().and_then(|path| CString::new(path.as_bytes()).ok());
    let name = args.next().and_then(|name| CString::new(name.as_bytes()).ok());
    Some(path.map_or(ExitCode::FAILURE, |path| sys::short_life(&path, &DATA, name.as_deref()).into()))
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot create {}", args.dir.display()))?;
    let links = tempfile::tempdir()?;
    let start = &Start::new(args, &links)?;
    control.ready()?;
    thread::scope(|scope| {
        let starters: Vec<_> =
            (0..args.concurrency).map(|index| scope.spawn(move || run_share(args, start, index))).collect();
        starters.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    let mut tally = Tally::new();
    tally.add(&args.class, Op::Write, args.count, args.count * DATA.len() as u64);
    tally.add(&args.class, Op::Fsync, args.count, 0);
    control.finish(&tally)
}

fn run_share(args: &Args, start: &Start, index: u64) -> Result<()> {
    for n in 0..share(args.count, args.concurrency, index) {
        let path = args.dir.join(format!("short-{}-{index}-{n}", std::process::id()));
        let status = start.child(&path, args.rename.as_deref())?;
        ensure!(status == 0, "a child failed at step {status}");
    }
    Ok(())
}

/// Another path to this program, with the file name that is wanted.
fn link_to_self(dir: &TempDir, name: &str) -> Result<PathBuf> {
    let link = dir.path().join(name);
    symlink(std::env::current_exe()?, &link).with_context(|| format!("cannot create {}", link.display()))?;
    Ok(link)
}

impl Start {
    fn new(args: &Args, links: &TempDir) -> Result<Self> {
        Ok(match &args.comm {
            _ if args.fork => Self::Fork,
            Some(name) => Self::Exec(link_to_self(links, name)?),
            None => Self::Exec(std::env::current_exe()?),
        })
    }

    /// Starts a child and waits for it; 0 when it did all that it was to do.
    fn child(&self, path: &Path, rename: Option<&str>) -> Result<i32> {
        match self {
            Self::Fork => fork(path, rename),
            Self::Exec(program) => exec(program, path, rename),
        }
    }
}

fn fork(path: &Path, rename: Option<&str>) -> Result<i32> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let rename = rename.map(CString::new).transpose()?;
    let child = sys::fork_short_life(&path, &DATA, rename.as_deref())?;
    Ok(sys::wait_for(child)?)
}

fn exec(program: &Path, path: &Path, rename: Option<&str>) -> Result<i32> {
    let mut command = Command::new(program);
    command.arg(CHILD).arg(path).args(rename).stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command.status()?.code().unwrap_or(-1))
}
