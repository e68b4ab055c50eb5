//! libaio's requests, made by the system calls themselves.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use stemedb_workload::rng::XorShift;
use stemedb_workload::sys::aio::{ALIGNMENT, Command, Context, Request};
use stemedb_workload::{Op, Tally, sys};

use super::{Place, crew, share};
use crate::control::Control;

/// Requests of one `io_submit`.
const BATCH: u64 = 8;
/// Largest write.
const MAX_SIZE: usize = 4 * ALIGNMENT;
/// Where writing starts over.
const MAX_OFFSET: u64 = 1 << 20;
/// The largest file that the load may write; some requests go beyond.
const FILE_LIMIT: u64 = 2 << 20;
/// One request in so many is made to fail.
const FAIL_EVERY: u64 = 13;

/// Makes a known number of libaio's requests of every kind, buffered, direct and durable
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Requests in all
    #[arg(long)]
    calls: u64,
    /// Seed of the choices
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// What the requests did, and how many calls of `io_submit` they took.
#[derive(Default, Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    submits: u64,
}

struct Worker<'a> {
    args: &'a Args,
    context: Context,
    buffered: File,
    direct: File,
    durable: File,
    path: PathBuf,
    rng: XorShift,
    report: Report,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    sys::limit_file_size(FILE_LIMIT)?;
    fs::create_dir_all(&args.place.dir)?;
    let prepare = |index| Ok((Worker::new(args, index)?, share(args.calls, args.place.threads, index)));
    let reports = crew::run(&control, args.place.threads, prepare, |(worker, calls)| worker.run(calls))?;
    let mut all = Report::default();
    for report in reports {
        all.tally.merge(&report.tally);
        all.submits += report.submits;
    }
    control.finish(&all)
}

impl<'a> Worker<'a> {
    fn new(args: &'a Args, index: u64) -> Result<Self> {
        let path = args.place.dir.join(format!("aio-{}-{index}", std::process::id()));
        let buffered = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let with = |flags: i32| open(&path, flags);
        let (direct, durable) = (with(libc::O_DIRECT)?, with(libc::O_DSYNC)?);
        let context = Context::new(usize::try_from(BATCH)?, MAX_SIZE).context("cannot make a context")?;
        let rng = XorShift::new(args.seed.wrapping_add(index));
        Ok(Self { args, context, buffered, direct, durable, path, rng, report: Report::default() })
    }

    fn run(mut self, calls: u64) -> Result<Report> {
        let mut made = 0;
        while made < calls {
            let chosen: Vec<_> = (made..calls.min(made + BATCH)).map(|n| self.request(n)).collect();
            let requests: Vec<Request> = chosen.iter().map(|(request, _)| *request).collect();
            self.report.submits += 1;
            for done in self.context.run(&requests)? {
                let (request, durable) = chosen.get(done.index).context("an event of no request")?;
                let mut calls = self.report.tally.on(&self.args.place.class).durably(*durable);
                calls.request(request.command.op(), &done.result, done.ns);
            }
            made += requests.len() as u64;
        }
        fs::remove_file(&self.path)?;
        Ok(self.report)
    }

    /// Request number `n`, and as what it counts besides.
    fn request(&mut self, n: u64) -> (Request, Option<Op>) {
        let (file, by_file) = match self.rng.below(3) {
            0 => (&self.buffered, None),
            1 => (&self.direct, None),
            _ => (&self.durable, Some(Op::ODsync)),
        };
        let command = [Command::Pwrite, Command::Pwritev, Command::Fsync, Command::Fdsync][self.rng.index(4)];
        let mut request = Request { fd: file.as_raw_fd(), ..Request::new(command, file) };
        if matches!(command, Command::Fsync | Command::Fdsync) {
            return (request, None);
        }
        let unit = ALIGNMENT as u64;
        request.offset = self.rng.below(MAX_OFFSET / unit) * unit;
        request.len = (self.rng.index(MAX_SIZE / ALIGNMENT) + 1) * ALIGNMENT;
        let durable = if self.rng.below(4) == 0 {
            request.rw_flags = libc::RWF_SYNC;
            Some(Op::OSync)
        } else {
            by_file
        };
        if n % FAIL_EVERY == 5 {
            request.offset = 2 * FILE_LIMIT;
        } else if n % FAIL_EVERY == 7 && by_file.is_none() {
            // Direct I/O refuses it.
            request.offset += 1;
        }
        (request, durable)
    }
}

fn open(path: &Path, flags: i32) -> Result<File> {
    File::options()
        .write(true)
        .custom_flags(flags)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}
