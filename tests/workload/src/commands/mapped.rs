//! Stores to a mapped file, from several threads at once.

use std::fs::{self, File};
use std::sync::Barrier;

use anyhow::{Context, Result};
use serde::Serialize;
use stemedb_workload::Tally;
use stemedb_workload::sys::Mapping;

use super::{Place, crew};
use crate::control::Control;

/// Bytes of a page, and of a write that makes one page of cache.
const PAGE: usize = 4096;

/// What cleans the pages between two rounds.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Flush {
    /// `msync` with `MS_SYNC`
    Msync,
    /// `fsync`
    Fsync,
    /// Only `msync` with `MS_ASYNC`, which cleans nothing
    Async,
}

/// Writes a file page by page, maps it, and changes every page of it in each round, from all threads at once
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Pages of the file
    #[arg(long)]
    pages: usize,
    /// Times that every page is changed
    #[arg(long)]
    rounds: u8,
    /// What cleans the pages after each round
    #[arg(long, value_enum)]
    flush: Flush,
}

/// The calls, and what the stores have made dirty.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    tally: Tally,
    dirtied_bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let control = Control::new()?;
    fs::create_dir_all(&args.place.dir)?;
    let path = args.place.dir.join(format!("mapped-{}", std::process::id()));
    let made = File::options().read(true).write(true).create_new(true).open(&path);
    let file = made.with_context(|| format!("cannot create {}", path.display()))?;
    let len = args.pages * PAGE;
    file.set_len(len as u64)?;
    let map = Mapping::new(&file, len)?;
    let (written, changed) =
        (Barrier::new(usize::try_from(args.place.threads)?), Barrier::new(usize::try_from(args.place.threads)?));
    let work = |first: bool| -> Result<Tally> {
        let mut tally = Tally::new();
        let mut calls = tally.on(&args.place.class);
        // A failure is told at the end, because the other threads wait at the barriers.
        let mut outcome = Ok(0);
        if first {
            // Each of these writes makes one small folio.
            for page in 0..args.pages {
                outcome = outcome.and(calls.pwrite(&file, &[b'w'; PAGE], (page * PAGE) as u64));
            }
            outcome = outcome.and(calls.fsync(&file));
        }
        for round in 0..args.rounds {
            written.wait();
            map.touch(PAGE, round);
            changed.wait();
            outcome = outcome.and(match args.flush {
                _ if !first => Ok(0),
                Flush::Msync => calls.msync(&map, 0, len, libc::MS_SYNC),
                Flush::Fsync => calls.fsync(&file),
                Flush::Async => calls.msync(&map, 0, len, libc::MS_ASYNC),
            });
        }
        // The end of a thread changes the address space, and while that is changed nobody can look up what is mapped.
        written.wait();
        outcome?;
        Ok(tally)
    };
    let mut tally = Tally::new();
    for part in crew::run(&control, args.place.threads, |index| Ok(index == 0), work)? {
        tally.merge(&part);
    }
    fs::remove_file(&path)?;
    let times = if args.flush == Flush::Async { 1 } else { u64::from(args.rounds) };
    control.finish(&Report { tally, dirtied_bytes: len as u64 * times })
}
