//! One thread of the load: which call comes next, on which file, with how much.

use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use stemedb_workload::rng::XorShift;
use stemedb_workload::{Op, Tally};

use super::ClassDir;
use super::files::{Files, MAX_OFFSET, MAX_SIZE, PAGE, PAGES, Pipe};

/// The class of a call that is about no file.
const NO_FILE: &str = "other";
/// The calls that take turns. `syncfs` and `sync`, which are slow, come now and then.
const CYCLE: [Op; 13] = [
    Op::Write,
    Op::Pwrite,
    Op::Fdatasync,
    Op::Writev,
    Op::Pwritev,
    Op::Msync,
    Op::Pwritev2,
    Op::Sendfile,
    Op::Fsync,
    Op::Splice,
    Op::CopyFileRange,
    Op::SyncFileRange,
    Op::Fallocate,
];
/// One call in so many is a `syncfs`, and another one a `sync` if that is wanted.
const SYNCFS_EVERY: u64 = 500;
/// One call in so many is made to fail.
const FAIL_EVERY: u64 = 37;

/// A thread's files, choices and results.
pub(super) struct Worker {
    pub(super) tally: Tally,
    files: Vec<Files>,
    pipe: Pipe,
    rng: XorShift,
    data: Vec<u8>,
    calls: u64,
    with_sync: bool,
}

impl Worker {
    pub(super) fn new(dirs: &[ClassDir], tally: Tally, calls: u64, seed: u64, with_sync: bool) -> Result<Self> {
        let files = dirs.iter().map(|dir| Files::create(dir, seed)).collect::<Result<_>>()?;
        let (pipe, rng) = (Pipe::new()?, XorShift::new(seed));
        Ok(Self { tally, files, pipe, rng, data: vec![b'x'; MAX_SIZE], calls, with_sync })
    }

    /// Makes all the calls of this thread. Their errors are in the tally.
    pub(super) fn run(&mut self, done: &AtomicU64) {
        let mut cycle = CYCLE.iter().cycle();
        for n in 0..self.calls {
            let at = self.rng.index(self.files.len());
            if n % SYNCFS_EVERY == 40 {
                self.sync_all(at, Op::Syncfs);
            } else if self.with_sync && n % SYNCFS_EVERY == 80 {
                self.sync_all(at, Op::Sync);
            } else if n % FAIL_EVERY == 20 {
                self.fail(at);
            } else if let Some(op) = cycle.next() {
                self.call(at, *op);
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes one call on the files of directory `at`.
    fn call(&mut self, at: usize, op: Op) {
        match op {
            Op::Write | Op::Writev | Op::Sendfile | Op::Splice => self.append(at, op),
            Op::Fsync | Op::Fdatasync | Op::SyncFileRange | Op::Msync | Op::Syncfs | Op::Sync => self.sync(at, op),
            _ => self.write_at(at, op),
        }
    }

    /// A write at the position of the file.
    fn append(&mut self, at: usize, op: Op) {
        let data = &self.data[..=self.rng.index(MAX_SIZE)];
        let files = &mut self.files[at];
        let mut calls = self.tally.on(&files.class);
        let result = match op {
            Op::Writev => calls.writev(&files.out, &halves(data)),
            Op::Sendfile => calls.sendfile(&files.out, &files.source, data.len()),
            Op::Splice => {
                self.pipe.fill(data);
                let result = calls.splice(&files.out, &self.pipe.reader, data.len());
                self.pipe.drained(&result);
                result
            }
            _ => calls.write(&files.out, data),
        };
        files.advance(&result);
    }

    /// A write at an offset.
    fn write_at(&mut self, at: usize, op: Op) {
        let data = &self.data[..=self.rng.index(MAX_SIZE)];
        let offset = self.rng.below(MAX_OFFSET);
        let files = &self.files[at];
        let mut calls = self.tally.on(&files.class);
        let result = match op {
            Op::Pwritev => calls.pwritev(&files.out, &halves(data), offset),
            Op::Pwritev2 => calls.pwritev2(&files.out, &halves(data), offset, 0),
            Op::CopyFileRange => calls.copy_file_range(&files.out, offset, &files.source, data.len()),
            Op::Fallocate => {
                let mode = if self.rng.below(2) == 0 { 0 } else { libc::FALLOC_FL_KEEP_SIZE };
                calls.fallocate(&files.out, mode, offset, data.len() as u64)
            }
            _ => calls.pwrite(&files.out, data, offset),
        };
        result.ok();
    }

    /// A sync of one file.
    fn sync(&mut self, at: usize, op: Op) {
        let files = &mut self.files[at];
        let mut calls = self.tally.on(&files.class);
        let result = match op {
            Op::Fdatasync => calls.fdatasync(&files.out),
            Op::SyncFileRange => {
                let start = libc::SYNC_FILE_RANGE_WRITE;
                let await_all = libc::SYNC_FILE_RANGE_WAIT_BEFORE | start | libc::SYNC_FILE_RANGE_WAIT_AFTER;
                let flags = if self.rng.below(2) == 0 { start } else { await_all };
                calls.sync_file_range(&files.out, self.rng.below(MAX_OFFSET), MAX_SIZE as u64, flags)
            }
            Op::Msync => {
                let page = self.rng.index(PAGES) * PAGE;
                files.mapped.set(page, b'm');
                calls.msync(&files.mapped, page, self.rng.index(PAGE) + 1, libc::MS_SYNC)
            }
            _ => calls.fsync(&files.out),
        };
        result.ok();
    }

    /// A sync of more than one file.
    fn sync_all(&mut self, at: usize, op: Op) {
        let files = &self.files[at];
        let result = match op {
            Op::Sync => self.tally.on(NO_FILE).sync(),
            _ => self.tally.on(&files.class).syncfs(&files.out),
        };
        result.ok();
    }

    /// A call that fails: on a file that is read-only, on no file, or on what is no storage.
    fn fail(&mut self, at: usize) {
        let files = &self.files[at];
        let result = match self.rng.below(3) {
            0 => self.tally.on(&files.class).write(&files.read_only, &self.data),
            1 => self.tally.on(NO_FILE).fsync(&-1),
            _ => self.tally.on(NO_FILE).fdatasync(&self.pipe.reader),
        };
        result.ok();
    }
}

fn halves(data: &[u8]) -> [IoSlice<'_>; 2] {
    let (a, b) = data.split_at(data.len() / 2);
    [IoSlice::new(a), IoSlice::new(b)]
}
