//! Writes and fdatasyncs, each with the times of its begin and its end: for whoever attaches and detaches meanwhile.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use stemedb_workload::{Op, sys};

use crate::control::{Control, report};

/// Between two pairs of calls, so that the agent under test gets its turn.
const PAUSE: Duration = Duration::from_micros(300);

/// Writes and syncs until told to stop, and prints the calls since the last line for each line
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the files
    #[arg(long)]
    dir: PathBuf,
    /// Threads, each with a file of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    threads: u64,
    /// Lines to answer
    #[arg(long)]
    rounds: u64,
}

/// A call that succeeded, with times in nanoseconds of the monotonic clock.
#[derive(Serialize)]
struct Call {
    op: &'static str,
    begin: u64,
    end: u64,
}

/// The calls that have ended since they were last taken.
type Calls = Mutex<Vec<Call>>;

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    fs::create_dir_all(&args.dir)?;
    let open = |n| {
        let path = args.dir.join(format!("edges-{}-{n}", std::process::id()));
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))
    };
    let files = (0..args.threads).map(open).collect::<Result<Vec<File>>>()?;
    let (calls, stop) = (Calls::default(), AtomicBool::new(false));
    control.ready()?;
    thread::scope(|scope| {
        let loads: Vec<_> = files.iter().map(|file| scope.spawn(|| load(file, &calls, &stop))).collect();
        let answered = (0..args.rounds).try_for_each(|_| {
            control.wait();
            report(&std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner)))
        });
        stop.store(true, Ordering::Relaxed);
        loads
            .into_iter()
            .try_for_each(|load| load.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
            .and(answered)
    })
}

fn load(file: &File, calls: &Calls, stop: &AtomicBool) -> Result<()> {
    let fd = file.as_raw_fd();
    while !stop.load(Ordering::Relaxed) {
        for op in [Op::Pwrite, Op::Fdatasync] {
            let begin = sys::monotonic_ns();
            let result = if op == Op::Pwrite { sys::pwrite(fd, b"entry", 0) } else { sys::fdatasync(fd) };
            let call = Call { op: stemedb_ebpf::ops::OPS[op as usize].name, begin, end: sys::monotonic_ns() };
            result?;
            calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
