//! Writes and fdatasyncs whose latencies are all kept.

use std::path::PathBuf;
use std::thread;

use anyhow::Result;
use stemedb_workload::Tally;

use super::append::Appender;
use super::share;
use crate::control::Control;

/// Writes and syncs, and prints the latency of each sync
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the files
    #[arg(long)]
    dir: PathBuf,
    /// Rounds of one write and one fdatasync, all threads together
    #[arg(long)]
    calls: u64,
    /// Threads, each with a file of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    threads: u64,
    /// Bytes of a write
    #[arg(long, default_value_t = 512)]
    size: usize,
    /// Class of the directory
    #[arg(long, default_value = "wal")]
    class: String,
}

struct Worker {
    appender: Appender,
    tally: Tally,
    rounds: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    let mut workers = (0..args.threads).map(|index| worker(args, index)).collect::<Result<Vec<_>>>()?;
    control.ready()?;
    thread::scope(|scope| {
        for worker in &mut workers {
            scope.spawn(|| worker.run(&args.class));
        }
    });
    let mut tally = Tally::with_raw();
    for worker in &workers {
        tally.merge(&worker.tally);
    }
    control.finish(&tally)
}

fn worker(args: &Args, index: u64) -> Result<Worker> {
    let rounds = share(args.calls, args.threads, index);
    let mut tally = Tally::with_raw();
    tally.reserve(&args.class, usize::try_from(rounds)?);
    Ok(Worker { appender: Appender::create(&args.dir, index, args.size)?, tally, rounds })
}

impl Worker {
    fn run(&mut self, class: &str) {
        for _ in 0..self.rounds {
            self.appender.append(&mut self.tally, class);
        }
    }
}
