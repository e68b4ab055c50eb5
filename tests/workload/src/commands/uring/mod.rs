//! io_uring: a known number of requests of every kind, or requests whose latencies are all kept.

mod latency;
mod worker;

use anyhow::{Result, ensure};
use serde::Serialize;
use stemedb_workload::sys::uring::Setup;
use stemedb_workload::{Tally, sys};

use self::worker::{Files, Worker};
use super::{Place, crew, share};
use crate::control::Control;

pub(crate) use latency::{LatencyArgs, run as run_latency};

/// The largest file that the load may write; some requests go beyond.
const FILE_LIMIT: u64 = 2 << 20;

/// Makes a known number of io_uring requests of every kind, in a ring for each thread
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    mode: Mode,
    /// Requests in all
    #[arg(long)]
    calls: u64,
    /// Requests in flight, of each thread
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..))]
    depth: u32,
    /// Seed of the choices
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// `IOSQE_CQE_SKIP_SUCCESS`: each write posts no completion, and is linked to a sync that does
    #[arg(long)]
    skip_success: bool,
}

/// By which of the kernel's ways.
#[derive(Clone, Copy, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "they are flags of the command line")]
pub(crate) struct Mode {
    /// A kernel thread takes the requests
    #[arg(long)]
    sqpoll: bool,
    /// Requests name registered files
    #[arg(long)]
    registered_files: bool,
    /// Also writes from registered memory
    #[arg(long)]
    fixed_buffers: bool,
    /// Completions are posted when the thread asks for them
    #[arg(long)]
    defer_taskrun: bool,
    /// Worker threads of the kernel do every request (`IOSQE_ASYNC`)
    #[arg(long)]
    iowq: bool,
    /// Each write is linked to the sync after it (`IOSQE_IO_LINK`)
    #[arg(long)]
    linked: bool,
}

impl Mode {
    fn setup(self) -> Setup {
        Setup {
            sqpoll: self.sqpoll,
            registered_files: self.registered_files,
            fixed_buffers: self.fixed_buffers,
            defer_taskrun: self.defer_taskrun,
        }
    }
}

/// What the load did: its calls, and the requests that succeeded without a completion.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    skipped: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    sys::limit_file_size(FILE_LIMIT)?;
    let files = (0..args.place.threads).map(|index| Files::create(&args.place.dir, index));
    let files = files.collect::<Result<Vec<_>>>()?;
    let prepare = |index: u64| Worker::new(args, &files[usize::try_from(index)?], index);
    let share = |index| share(args.calls, args.place.threads, index);
    let workers = crew::run(
        &control,
        args.place.threads,
        |index| Ok((prepare(index)?, share(index))),
        |(worker, calls)| worker.run(calls),
    )?;
    let mut report = Report { tally: Tally::new(), skipped: 0 };
    for (tally, skipped) in workers {
        report.tally.merge(&tally);
        report.skipped += skipped;
    }
    let made = report.tally.total_calls() + report.skipped;
    ensure!(made == args.calls, "{made} requests instead of {}", args.calls);
    control.finish(&report)
}
