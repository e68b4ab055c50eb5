//! One process of the load.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use stemedb_workload::Tally;

use super::super::share;
use super::worker::Worker;
use super::{ClassDir, DONE, PROGRESS};
use crate::control::{Control, say};

/// One process of `exact`
#[derive(clap::Args)]
pub(crate) struct ChildArgs {
    #[arg(long, required = true)]
    dir: Vec<ClassDir>,
    #[arg(long)]
    threads: u64,
    #[arg(long)]
    calls: u64,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    raw: bool,
    #[arg(long)]
    with_sync: bool,
}

/// What the threads share. They pass each barrier together with the main thread: a thread that begins or ends
/// changes the address space, which could hide a mapping from an agent that looks it up at that instant.
struct Shared {
    prepared: Barrier,
    start: Barrier,
    end: Barrier,
    done: AtomicU64,
    finished: AtomicUsize,
}

pub(crate) fn run_child(args: &ChildArgs) -> Result<()> {
    let control = Control::new()?;
    let mut workers = (0..args.threads).map(|index| worker(args, index)).collect::<Result<Vec<_>>>()?;
    let shared = Shared::new(workers.len());
    thread::scope(|scope| -> Result<()> {
        for worker in &mut workers {
            scope.spawn(|| shared.run(worker));
        }
        shared.prepared.wait();
        let ready = control.ready();
        shared.start.wait();
        let followed = shared.follow();
        shared.end.wait();
        ready.and(followed)
    })?;
    let mut tally = if args.raw { Tally::with_raw() } else { Tally::new() };
    for worker in &workers {
        tally.merge(&worker.tally);
    }
    control.finish(&tally)
}

fn worker(args: &ChildArgs, index: u64) -> Result<Worker> {
    let mut tally = if args.raw { Tally::with_raw() } else { Tally::new() };
    let calls = share(args.calls, args.threads, index);
    for class in args.dir.iter().map(|dir| dir.class.as_str()).chain(["other"]) {
        tally.reserve(class, usize::try_from(calls)?);
    }
    Worker::new(&args.dir, tally, calls, args.seed.wrapping_add(index), args.with_sync)
}

impl Shared {
    fn new(workers: usize) -> Self {
        let barrier = || Barrier::new(workers + 1);
        let (done, finished) = (AtomicU64::new(0), AtomicUsize::new(workers));
        Self { prepared: barrier(), start: barrier(), end: barrier(), done, finished }
    }

    /// A worker's thread.
    fn run(&self, worker: &mut Worker) {
        self.prepared.wait();
        self.start.wait();
        worker.run(&self.done);
        self.finished.fetch_sub(1, Ordering::Release);
        self.end.wait();
    }

    /// Tells progress until the last worker is finished.
    fn follow(&self) -> Result<()> {
        let mut told = Instant::now();
        while self.finished.load(Ordering::Acquire) > 0 {
            thread::sleep(Duration::from_millis(5));
            if told.elapsed() >= PROGRESS {
                say(&format!("{DONE}{}", self.done.load(Ordering::Relaxed)))?;
                told = Instant::now();
            }
        }
        Ok(())
    }
}
