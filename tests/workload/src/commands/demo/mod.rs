//! A small database: clients, a write-ahead log with group commit, and a store with checkpoints.

mod dirs;
mod queue;
mod store;
mod wal;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use stemedb_workload::rng::XorShift;
use stemedb_workload::{Tally, sys};

use crate::control::{Control, announce, report};
use queue::Queue;
use store::Store;
use wal::Wal;

/// How often it is looked whether the time is over.
const TICK: Duration = Duration::from_millis(50);
/// Shortest and longest entry.
const ENTRY_BYTES: (usize, usize) = (100, 2000);
/// Shortest and longest pause of a client in microseconds.
const THINK_US: (u64, u64) = (300, 3000);

/// Acts as a database: clients commit to DIR/wal in groups, and DIR/store has checkpoints
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the database
    #[arg(long)]
    dir: PathBuf,
    /// Stop after this time; without it, at SIGTERM
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Clients
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let terminated = sys::catch_termination();
    let control = Control::new()?;
    dirs::prepare(&args.dir)?;
    let (wal, store) = (Wal::open(args.dir.join("wal"))?, Store::open(&args.dir.join("store"))?);
    announce()?;
    wait(&control, terminated);
    let tally = serve(args, terminated, wal, store)?;
    report(&tally)?;
    wait(&control, terminated);
    Ok(())
}

/// Waits for a line, or for the signal.
fn wait(control: &Control, terminated: &AtomicBool) {
    while !terminated.load(Ordering::Relaxed) && !control.wait_for(TICK) {}
}

/// Runs all the threads until the time is over.
fn serve(args: &Args, terminated: &AtomicBool, wal: Wal, store: Store) -> Result<Tally> {
    let (queue, stop) = (&Queue::default(), &AtomicBool::new(false));
    let (commits, entries) = mpsc::channel();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..args.threads).map(|seed| scope.spawn(move || client(seed, queue, stop))).collect();
        let committer = scope.spawn(move || wal.serve(queue, &commits));
        let applier = scope.spawn(move || store.serve(&entries));
        let deadline = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        while !is_over(deadline) && !terminated.load(Ordering::Relaxed) && !committer.is_finished() {
            thread::sleep(TICK);
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().try_for_each(ScopedJoinHandle::join).map_err(|_| anyhow!("a client panicked"))?;
        queue.close();
        let mut tally = committer.join().map_err(|_| anyhow!("the committer panicked"))??;
        tally.merge(&applier.join().map_err(|_| anyhow!("the store panicked"))?);
        Ok(tally)
    })
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// Commits an entry, thinks, and so on.
fn client(seed: u64, queue: &Queue, stop: &AtomicBool) {
    let mut rng = XorShift::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let size = ENTRY_BYTES.0 + rng.index(ENTRY_BYTES.1 - ENTRY_BYTES.0 + 1);
        if !queue.commit(vec![b'e'; size]) {
            return;
        }
        thread::sleep(Duration::from_micros(THINK_US.0 + rng.below(THINK_US.1 - THINK_US.0)));
    }
}
