//! Writes and fdatasyncs without a pause, until told to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use stemedb_workload::Tally;

use super::Place;
use super::append::Appender;
use crate::control::Control;

/// Writes and syncs as fast as it can until a line comes, and prints the longest round besides the calls
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Stop after this time even without a line
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Bytes of a write
    #[arg(long, default_value_t = 512)]
    size: usize,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    max_gap_ns: u64,
}

struct Worker {
    appender: Appender,
    tally: Tally,
    max_gap: Duration,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    let mut workers = (0..args.place.threads).map(|index| worker(args, index)).collect::<Result<Vec<_>>>()?;
    control.ready()?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in &mut workers {
            scope.spawn(|| worker.run(&args.place.class, &stop));
        }
        match args.seconds {
            Some(seconds) => _ = control.wait_for(Duration::from_secs(seconds)),
            None => control.wait(),
        }
        stop.store(true, Ordering::Relaxed);
    });
    control.finish(&sum(&workers))
}

fn worker(args: &Args, index: u64) -> Result<Worker> {
    let appender = Appender::create(&args.place.dir, index, args.size)?;
    Ok(Worker { appender, tally: Tally::new(), max_gap: Duration::ZERO })
}

fn sum(workers: &[Worker]) -> Report {
    let mut tally = Tally::new();
    for worker in workers {
        tally.merge(&worker.tally);
    }
    let max_gap = workers.iter().map(|worker| worker.max_gap).max().unwrap_or_default();
    Report { tally, max_gap_ns: u64::try_from(max_gap.as_nanos()).unwrap_or(u64::MAX) }
}

impl Worker {
    fn run(&mut self, class: &str, stop: &AtomicBool) {
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.appender.append(&mut self.tally, class);
            let now = Instant::now();
            self.max_gap = self.max_gap.max(now - last);
            last = now;
        }
    }
}
