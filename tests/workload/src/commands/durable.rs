//! Writes that are durable when they return, by every way, among writes that are not and syncs, from several threads on one file.

use std::fs::{self, File};
use std::io::IoSlice;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use stemedb_workload::rng::XorShift;
use stemedb_workload::{Op, Tally, sys};

use super::{Place, crew, share};
use crate::control::Control;

/// Largest write.
const MAX_SIZE: usize = 4096;
/// Where writing starts over.
const MAX_OFFSET: u64 = 1 << 20;
/// The largest file that the load may write; some writes go beyond.
const FILE_LIMIT: u64 = 1 << 24;
/// One write in so many is made to fail, and another one writes nothing.
const FAIL_EVERY: u64 = 11;

/// Writes with `O_SYNC`, `O_DSYNC`, `RWF_SYNC`, `RWF_DSYNC` and without, and syncs, from all threads on one file
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Calls in all, before a last fsync
    #[arg(long)]
    calls: u64,
    /// Seed of the choices
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// What the calls did, and which groups they made.
#[derive(Default, Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    /// Writes that succeeded and were durable at their return.
    durable: u64,
    /// Writes that succeeded, all of which the last fsync has covered, and their bytes.
    writes: u64,
    bytes: u64,
    /// Successful fsyncs and fdatasyncs: how many writes each has covered, as far as its own thread knows.
    groups: Vec<u64>,
}

/// The same file, opened in every way by one thread.
struct Files {
    plain: File,
    read_only: File,
    dsync: File,
    sync: File,
}

struct Worker<'a> {
    args: &'a Args,
    files: Files,
    rng: XorShift,
    report: Report,
    waiting: u64,
    data: Vec<u8>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    sys::limit_file_size(FILE_LIMIT)?;
    fs::create_dir_all(&args.place.dir)?;
    let path = args.place.dir.join(format!("durable-{}", std::process::id()));
    let last = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let prepare = |index| Ok((Worker::new(args, &path, index)?, share(args.calls, args.place.threads, index)));
    let reports = crew::run(&control, args.place.threads, prepare, |(worker, calls)| Ok(worker.run(calls)))?;
    let mut all = Report::default();
    let mut waiting = 0;
    for (report, left) in reports {
        all.tally.merge(&report.tally);
        all.durable += report.durable;
        all.writes += report.writes;
        all.bytes += report.bytes;
        all.groups.extend(report.groups);
        waiting += left;
    }
    all.tally.on(&args.place.class).fsync(&last)?;
    all.groups.push(waiting);
    fs::remove_file(&path)?;
    control.finish(&all)
}

impl Files {
    fn open(path: &Path) -> Result<Self> {
        let with = |flags| File::options().write(true).custom_flags(flags).open(path);
        Ok(Self {
            plain: with(0)?,
            read_only: File::options().read(true).custom_flags(libc::O_DSYNC).open(path)?,
            dsync: with(libc::O_DSYNC)?,
            sync: with(libc::O_SYNC)?,
        })
    }
}

impl<'a> Worker<'a> {
    fn new(args: &'a Args, path: &Path, index: u64) -> Result<Self> {
        let rng = XorShift::new(args.seed.wrapping_add(index));
        let (files, data) = (Files::open(path)?, vec![b'd'; MAX_SIZE]);
        Ok(Self { args, files, rng, report: Report::default(), waiting: 0, data })
    }

    /// Makes all the calls; gives what they did, and how many writes no sync of this thread has covered.
    fn run(mut self, calls: u64) -> (Report, u64) {
        for n in 0..calls {
            match n % 8 {
                7 => self.sync(),
                _ if n % FAIL_EVERY == 3 => self.fail(),
                _ => self.write(n % FAIL_EVERY == 6),
            }
        }
        (self.report, self.waiting)
    }

    fn sync(&mut self) {
        let mut calls = self.report.tally.on(&self.args.place.class);
        let plain = &self.files.plain;
        let result = if self.rng.below(2) == 0 { calls.fsync(plain) } else { calls.fdatasync(plain) };
        if result.is_ok() {
            self.report.groups.push(std::mem::take(&mut self.waiting));
        }
    }

    /// One write by one of the calls, on the file opened in one of the ways.
    fn write(&mut self, nothing: bool) {
        let (file, by_file) = match self.rng.below(3) {
            0 => (&self.files.plain, None),
            1 => (&self.files.dsync, Some(Op::ODsync)),
            _ => (&self.files.sync, Some(Op::OSync)),
        };
        let (flags, by_flag) =
            [(0, None), (libc::RWF_DSYNC, Some(Op::ODsync)), (libc::RWF_SYNC, Some(Op::OSync))][self.rng.index(3)];
        let op = [Op::Write, Op::Pwrite, Op::Writev, Op::Pwritev, Op::Pwritev2][self.rng.index(5)];
        let by_flag = by_flag.filter(|_| op == Op::Pwritev2);
        // The stronger one counts.
        let durable = if by_file == Some(Op::OSync) { by_file } else { by_flag.or(by_file) };
        let data = if nothing { &[][..] } else { &self.data[..=self.rng.index(MAX_SIZE)] };
        let (first, second) = data.split_at(data.len() / 2);
        let (parts, offset) = ([IoSlice::new(first), IoSlice::new(second)], self.rng.below(MAX_OFFSET));
        let mut calls = self.report.tally.on(&self.args.place.class).durably(durable);
        let result = match op {
            Op::Write => calls.write(file, data),
            Op::Writev => calls.writev(file, &parts),
            Op::Pwritev => calls.pwritev(file, &parts, offset),
            Op::Pwritev2 => calls.pwritev2(file, &parts, offset, flags),
            _ => calls.pwrite(file, data, offset),
        };
        if let Ok(bytes @ 1..) = result {
            self.report.writes += 1;
            self.report.bytes += bytes as u64;
            *if durable.is_some() { &mut self.report.durable } else { &mut self.waiting } += 1;
        }
    }

    /// A durable write that fails: it is a sync too.
    fn fail(&mut self) {
        let (dsync, sync) = (Some(Op::ODsync), Some(Op::OSync));
        let on = |tally| Tally::on(tally, &self.args.place.class);
        let tally = &mut self.report.tally;
        let parts = [IoSlice::new(b"x")];
        let result = match self.rng.below(4) {
            0 => on(tally).durably(dsync).write(&self.files.read_only, b"x"),
            1 => on(tally).durably(sync).pwrite(&self.files.sync, b"x", 2 * FILE_LIMIT),
            2 => on(tally).durably(dsync).pwritev2(&self.files.plain, &parts, 2 * FILE_LIMIT, libc::RWF_DSYNC),
            _ => on(tally).durably(sync).pwritev(&self.files.sync, &parts, u64::MAX - 1),
        };
        debug_assert!(result.is_err());
    }
}
