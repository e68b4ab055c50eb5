//! Writes and fdatasyncs by io_uring whose latencies are all kept, from outside and from within.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use stemedb_workload::sys::uring::{Call, Request, Ring};
use stemedb_workload::{Op, Tally};

use super::Mode;
use crate::commands::{Place, crew, share};
use crate::control::Control;

/// Where writing starts over.
const WRAP: u64 = 1 << 20;

/// Writes and syncs by io_uring, and prints two latencies of each sync, of which the kernel's own is between
#[derive(clap::Args)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    mode: Mode,
    /// Rounds of one write and one fdatasync, all threads together
    #[arg(long)]
    calls: u64,
    /// Bytes of a write
    #[arg(long, default_value_t = 512)]
    size: usize,
}

/// The calls, with the latencies as the load sees them, and those that the kernel's are never below.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    within_ns: Vec<u64>,
}

struct Worker<'a> {
    args: &'a LatencyArgs,
    ring: Ring<Op>,
    report: Report,
    /// Open for as long as the ring is.
    _file: File,
}

pub(crate) fn run(args: &LatencyArgs) -> Result<()> {
    let control = Control::new()?;
    fs::create_dir_all(&args.place.dir)?;
    let share = |index| share(args.calls, args.place.threads, index);
    let prepare = |index| Ok((Worker::new(args, index)?, share(index)));
    let reports = crew::run(&control, args.place.threads, prepare, |(worker, rounds)| worker.run(rounds))?;
    let mut all = Report { tally: Tally::with_raw(), within_ns: Vec::new() };
    for report in reports {
        all.tally.merge(&report.tally);
        all.within_ns.extend(report.within_ns);
    }
    control.finish(&all)
}

impl<'a> Worker<'a> {
    fn new(args: &'a LatencyArgs, index: u64) -> Result<Self> {
        let path = args.place.dir.join(format!("uring-{}-{index}", std::process::id()));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        // It is written to by its descriptor only.
        let ring = Ring::new(args.mode.setup(), &[file.as_raw_fd()], 2, args.size).context("cannot make a ring")?;
        let report = Report { tally: Tally::with_raw(), within_ns: Vec::new() };
        Ok(Self { args, ring, report, _file: file })
    }

    fn run(mut self, rounds: u64) -> Result<Report> {
        let size = self.args.size as u64;
        for round in 0..rounds {
            let write = if self.args.mode.fixed_buffers { Call::WriteFixed } else { Call::Write };
            let offset = round * size % WRAP;
            let linked = self.args.mode.linked;
            self.push(Request { offset, len: self.args.size, linked, ..Request::new(write, 0) })?;
            if !linked {
                self.finish()?;
            }
            self.push(Request::new(Call::Fsync(1), 0))?;
            self.finish()?;
        }
        Ok(self.report)
    }

    fn push(&mut self, request: Request) -> Result<()> {
        let request = Request { forced: self.args.mode.iowq, ..request };
        Ok(self.ring.push(&request, request.call.op())?)
    }

    /// Submits, and watches until all is done.
    fn finish(&mut self) -> Result<()> {
        self.ring.submit()?;
        while self.ring.free() < 2 {
            let done = self.ring.watch()?;
            self.report.tally.on(&self.args.place.class).request(done.note, &done.result, done.ns);
            if done.note == Op::UringFdatasync {
                self.report.within_ns.push(done.within_ns);
            }
            done.result.map_err(|error| anyhow!("{:?}: {error}", done.note))?;
        }
        Ok(())
    }
}
