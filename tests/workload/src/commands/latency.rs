//! Writes and fdatasyncs whose latencies are all kept.

use std::thread;

use anyhow::{Result, anyhow};
use serde::Serialize;
use stemedb_workload::Tally;

use super::append::Appender;
use super::scheduling::Scheduling;
use super::{Place, share};
use crate::control::Control;

/// Writes and syncs, and prints the latency of each sync
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Rounds of one write and one fdatasync, all threads together
    #[arg(long)]
    calls: u64,
    /// Bytes of a write
    #[arg(long, default_value_t = 512)]
    size: usize,
}

/// The calls, and for each sync, in the same order, how much of its latency the thread may have been kept from a processor
/// that something else had taken from it.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    preempted_ns: Vec<u64>,
}

struct Worker {
    appender: Appender,
    report: Report,
    rounds: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    let mut workers = (0..args.place.threads).map(|index| worker(args, index)).collect::<Result<Vec<_>>>()?;
    control.ready()?;
    thread::scope(|scope| {
        let running: Vec<_> = workers.iter_mut().map(|worker| scope.spawn(|| worker.run(&args.place.class))).collect();
        running.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    let mut all = Report { tally: Tally::with_raw(), preempted_ns: Vec::new() };
    for worker in workers {
        all.tally.merge(&worker.report.tally);
        all.preempted_ns.extend(worker.report.preempted_ns);
    }
    control.finish(&all)
}

fn worker(args: &Args, index: u64) -> Result<Worker> {
    let rounds = share(args.calls, args.place.threads, index);
    let room = usize::try_from(rounds)?;
    let mut tally = Tally::with_raw();
    tally.reserve(&args.place.class, room);
    let report = Report { tally, preempted_ns: Vec::with_capacity(room) };
    Ok(Worker { appender: Appender::create(&args.place.dir, index, args.size)?, report, rounds })
}

impl Worker {
    fn run(&mut self, class: &str) -> Result<()> {
        let scheduling = Scheduling::of_this_thread()?;
        for _ in 0..self.rounds {
            self.appender.write(&mut self.report.tally, class);
            let before = scheduling.now()?;
            self.appender.sync(&mut self.report.tally, class);
            self.report.preempted_ns.push(before.preempted_ns_until(scheduling.now()?));
        }
        Ok(())
    }
}
