//! A known number of calls of every kind, from many threads of many processes.

mod child;
mod files;
mod worker;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use stemedb_workload::Tally;

use super::share;
use crate::control::{Control, may_tell_progress};

pub(crate) use child::{ChildArgs, run_child};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(2);
/// What a child's line about its progress starts with.
const DONE: &str = "done ";

/// Makes a known number of calls of every kind, from many threads of many processes
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A directory and its class; repeat it for more
    #[arg(long, value_name = "CLASS=DIR", required = true)]
    dir: Vec<ClassDir>,
    /// Processes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    processes: u64,
    /// Threads of each process
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    threads: u64,
    /// Calls in all
    #[arg(long)]
    calls: u64,
    /// Seed of the choices
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the latency of each sync
    #[arg(long)]
    raw: bool,
    /// Also call sync(2), now and then
    #[arg(long)]
    with_sync: bool,
}

/// A directory and the class of the files in it.
#[derive(Clone)]
pub(crate) struct ClassDir {
    class: String,
    dir: PathBuf,
}

impl FromStr for ClassDir {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((class, dir)) if !class.is_empty() && !dir.is_empty() => {
                Ok(Self { class: class.to_owned(), dir: dir.into() })
            }
            _ => Err("not of the form CLASS=DIR".to_owned()),
        }
    }
}

/// A running child.
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    let mut processes = (0..args.processes).map(|index| Process::start(args, index)).collect::<Result<Vec<_>>>()?;
    for process in &mut processes {
        let line = process.line()?;
        ensure!(line.starts_with("ready "), "a child is not ready but says {line:?}");
    }
    control.ready()?;
    for process in &mut processes {
        process.stdin.write_all(b"go\n")?;
    }
    let tally = collect(args, &mut processes)?;
    ensure!(tally.total_calls() == args.calls, "{} calls instead of {}", tally.total_calls(), args.calls);
    control.finish(&tally)?;
    processes.into_iter().try_for_each(Process::finish)
}

/// Follows the children to their results, and adds those up.
fn collect(args: &Args, processes: &mut [Process]) -> Result<Tally> {
    let done: Vec<AtomicU64> = processes.iter().map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let pairs = processes.iter_mut().zip(&done);
        let readers: Vec<_> = pairs.map(|(process, done)| scope.spawn(|| process.follow(done))).collect();
        let mut told = Instant::now();
        while !readers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(20));
            if told.elapsed() >= PROGRESS && may_tell_progress() {
                let sum: u64 = done.iter().map(|done| done.load(Ordering::Relaxed)).sum();
                eprintln!("{sum} of {} calls", args.calls);
                told = Instant::now();
            }
        }
        let mut tally = if args.raw { Tally::with_raw() } else { Tally::new() };
        for reader in readers {
            tally.merge(&reader.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        Ok(tally)
    })
}

impl Process {
    /// Starts child `index` of this load.
    fn start(args: &Args, index: u64) -> Result<Self> {
        let mut command = Command::new(own_path()?);
        command.arg("exact-child");
        for ClassDir { class, dir } in &args.dir {
            command.arg("--dir").arg(format!("{class}={}", dir.display()));
        }
        command.arg("--threads").arg(args.threads.to_string());
        command.arg("--calls").arg(share(args.calls, args.processes, index).to_string());
        command.arg("--seed").arg(args.seed.wrapping_add(index * args.threads).to_string());
        command.args(args.raw.then_some("--raw")).args(args.with_sync.then_some("--with-sync"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a child has no pipes")
        };
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stdout.read_line(&mut line)? > 0, "a child has ended early");
        Ok(line.trim_end().to_owned())
    }

    /// Reads the child's progress until its result comes.
    fn follow(&mut self, done: &AtomicU64) -> Result<Tally> {
        loop {
            let line = self.line()?;
            match line.strip_prefix(DONE) {
                Some(count) => done.store(count.parse()?, Ordering::Relaxed),
                None => return serde_json::from_str(&line).with_context(|| format!("a child says {line:?}")),
            }
        }
    }

    /// Lets the child end.
    fn finish(mut self) -> Result<()> {
        drop(self.stdin);
        let status = self.child.wait()?;
        ensure!(status.success(), "a child has failed: {status}");
        Ok(())
    }
}

/// The path that this process was started by, so that its children have the same name.
fn own_path() -> Result<PathBuf> {
    let path = std::env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
    path.map_or_else(|| Ok(std::env::current_exe()?), Ok)
}
