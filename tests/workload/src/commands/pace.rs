//! Loads that do one thing as fast as they can, for a time: what a bench compares.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use stemedb_workload::sys;

use crate::control::Control;

/// Bytes of the file that is written over and over, so that it never grows: no write waits for space.
const FILE: u64 = 16 << 20;
/// Samples that are kept; later ones take the place of the first.
const SAMPLES: usize = 1 << 22;
/// Calls between two looks at the clock, where single ones are not timed.
const BATCH: u64 = 256;

/// What is done over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A write of 4 KiB and an fdatasync
    Wal,
    /// A write of 512 bytes
    Writes,
    /// An fdatasync of a file that nothing is written to
    Syncs,
    /// getppid, a read and a write of 512 bytes, as a program does that is no database
    Calls,
    /// getppid
    Nothing,
}

/// Does one thing as fast as it can, and prints how often, and how long it took
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the file
    #[arg(long)]
    dir: PathBuf,
    /// What is done
    #[arg(long, value_enum)]
    kind: Kind,
    /// For how many milliseconds
    #[arg(long)]
    milliseconds: u64,
    /// Files that are open, of which each call takes the next
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    files: u64,
}

/// What came of it. Quantiles are zero where single calls are not timed.
#[derive(Serialize)]
struct Report {
    calls: u64,
    seconds: f64,
    p50_ns: u32,
    p99_ns: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    let files = (0..args.files).map(|index| prepare(args, index)).collect::<Result<Vec<_>>>()?;
    let size = if args.kind == Kind::Wal { 4096 } else { 512 };
    let mut pace = Pace { kind: args.kind, files, data: vec![b'p'; size], turn: 0 };
    pace.once()?;
    control.ready()?;
    let time = Duration::from_millis(args.milliseconds);
    let report = if args.kind == Kind::Nothing { pace.counted(time)? } else { pace.timed(time)? };
    control.finish(&report)
}

fn prepare(args: &Args, index: u64) -> Result<File> {
    let path = args.dir.join(format!("pace-{index}"));
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.with_context(|| format!("cannot create {}", path.display()))?;
    let size = FILE / args.files;
    for at in (0..size).step_by(1 << 16) {
        sys::pwrite(file.as_raw_fd(), &vec![b'0'; usize::try_from((size - at).min(1 << 16))?], at)?;
    }
    file.sync_all()?;
    fs::remove_file(path)?;
    Ok(file)
}

struct Pace {
    kind: Kind,
    files: Vec<File>,
    data: Vec<u8>,
    turn: u64,
}

impl Pace {
    fn once(&mut self) -> Result<()> {
        let files = self.files.len() as u64;
        let file = &self.files[usize::try_from(self.turn % files)?];
        let size = self.data.len() as u64;
        let at = self.turn / files % (FILE / files / size) * size;
        self.turn += 1;
        match self.kind {
            Kind::Wal => {
                sys::pwrite(file.as_raw_fd(), &self.data, at)?;
                sys::fdatasync(file.as_raw_fd())?;
            }
            Kind::Writes => {
                sys::pwrite(file.as_raw_fd(), &self.data, at)?;
            }
            Kind::Syncs => {
                sys::fdatasync(file.as_raw_fd())?;
            }
            Kind::Calls => {
                black_box(parent_id());
                file.read_at(&mut self.data, at)?;
                sys::pwrite(file.as_raw_fd(), &self.data, at)?;
            }
            Kind::Nothing => {
                black_box(parent_id());
            }
        }
        Ok(())
    }

    /// Each is timed, by one look at the clock.
    fn timed(&mut self, time: Duration) -> Result<Report> {
        // Not zeros, so that its pages are there before it begins.
        let mut samples = vec![1_u32; SAMPLES];
        let mut calls = 0_u64;
        let began = Instant::now();
        let mut before = began;
        while before - began < time {
            self.once()?;
            let now = Instant::now();
            let index = usize::try_from(calls)? % SAMPLES;
            samples[index] = u32::try_from((now - before).as_nanos()).unwrap_or(u32::MAX);
            before = now;
            calls += 1;
        }
        samples.truncate(usize::try_from(calls)?);
        samples.sort_unstable();
        let quantile = |percent: usize| samples.get(samples.len() * percent / 100).copied().unwrap_or(0);
        Ok(Report { calls, seconds: (before - began).as_secs_f64(), p50_ns: quantile(50), p99_ns: quantile(99) })
    }

    /// Looking at the clock would take as long as what is done.
    fn counted(&mut self, time: Duration) -> Result<Report> {
        let mut calls = 0;
        let began = Instant::now();
        while began.elapsed() < time {
            for _ in 0..BATCH {
                self.once()?;
            }
            calls += BATCH;
        }
        Ok(Report { calls, seconds: began.elapsed().as_secs_f64(), p50_ns: 0, p99_ns: 0 })
    }
}
