//! One thread of the load: its ring, which request comes next, and its result.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stemedb_workload::rng::XorShift;
use stemedb_workload::sys::uring::{Call, Done, Request, Ring};
use stemedb_workload::{Op, Tally};

use super::{Args, FILE_LIMIT};

/// The class of a request that is about no file.
const NO_FILE: &str = "other";
/// Largest write.
const MAX_SIZE: usize = 8192;
/// Where writing starts over.
const MAX_OFFSET: u64 = 1 << 20;
/// One batch in so many begins with a request that fails.
const FAIL_EVERY: u64 = 5;

/// Numbers of the ring's files; [`NONE`] is none of them.
const OUT: usize = 0;
const READ_ONLY: usize = 1;
const PIPE: usize = 2;
const NONE: usize = 99;

/// The requests that take turns.
const CYCLE: [Call; 9] = [
    Call::Write,
    Call::Fsync(0),
    Call::Writev,
    Call::SyncFileRange(libc::SYNC_FILE_RANGE_WRITE),
    Call::Splice(PIPE),
    Call::WriteFixed,
    Call::Fsync(1),
    Call::Fallocate,
    Call::SyncFileRange(
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER,
    ),
];

/// The files of one thread, the file being removed in the end.
pub(super) struct Files {
    out: File,
    read_only: File,
    pipe: (PipeReader, PipeWriter),
    path: PathBuf,
}

impl Files {
    pub(super) fn create(dir: &Path, index: u64) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(format!("uring-{}-{index}", std::process::id()));
        let out = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { out, read_only: File::open(&path)?, pipe: io::pipe()?, path })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// What is noted of a request: its operation and its class.
type Note<'a> = (Op, &'a str, bool);

pub(super) struct Worker<'a> {
    args: &'a Args,
    ring: Ring<Note<'a>>,
    pipe: &'a PipeWriter,
    /// Bytes in the pipe.
    held: usize,
    rng: XorShift,
    tally: Tally,
    skipped: u64,
    cycle: usize,
    /// Requests that are made, and those of them whose completion is to come.
    made: u64,
    expected: usize,
    splicing: bool,
}

impl<'a> Worker<'a> {
    pub(super) fn new(args: &'a Args, files: &'a Files, index: u64) -> Result<Self> {
        let descriptors = [files.out.as_raw_fd(), files.read_only.as_raw_fd(), files.pipe.0.as_raw_fd()];
        let ring = Ring::new(args.mode.setup(), &descriptors, args.depth, MAX_SIZE).context("cannot make a ring")?;
        Ok(Self {
            args,
            ring,
            pipe: &files.pipe.1,
            held: 0,
            rng: XorShift::new(args.seed.wrapping_add(index)),
            tally: Tally::new(),
            skipped: 0,
            cycle: 0,
            made: 0,
            expected: 0,
            splicing: false,
        })
    }

    /// Makes all the requests, in batches; gives what they did, and how many succeeded without a completion.
    pub(super) fn run(mut self, calls: u64) -> Result<(Tally, u64)> {
        let mut batch = 0;
        while self.made < calls {
            if batch % FAIL_EVERY == 2 && calls - self.made > 1 {
                self.fail()?;
            }
            while self.made < calls && self.ring.free() > 0 {
                let room = (calls - self.made).min(self.ring.free() as u64);
                if (self.args.mode.linked || self.args.skip_success) && room > 1 {
                    self.pair(OUT)?;
                } else if room > 1 || !self.paired() {
                    self.single()?;
                } else if calls - self.made == 1 {
                    self.push(Request::new(Call::Fsync(0), OUT), &self.args.place.class)?;
                } else {
                    break;
                }
            }
            self.ring.submit()?;
            self.reap()?;
            batch += 1;
        }
        Ok((self.tally, self.skipped))
    }

    fn paired(&self) -> bool {
        self.args.mode.linked || self.args.skip_success
    }

    /// The next request of the cycle.
    fn single(&mut self) -> Result<()> {
        let call = CYCLE[self.cycle % CYCLE.len()];
        self.cycle += 1;
        if matches!(call, Call::Splice(_)) && self.splicing || call == Call::WriteFixed && !self.args.mode.fixed_buffers
        {
            return Ok(());
        }
        let mut request = self.somewhere(call, OUT);
        if let Call::Splice(_) = call {
            self.splicing = true;
            self.fill(request.len)?;
            request.len = request.len.min(self.held);
        }
        self.push(request, &self.args.place.class)
    }

    /// A write and the sync that waits for it.
    fn pair(&mut self, file: usize) -> Result<()> {
        let fixed = self.args.mode.fixed_buffers && self.rng.below(2) == 0;
        let call = if fixed { Call::WriteFixed } else { [Call::Write, Call::Writev][self.rng.index(2)] };
        let write = Request { linked: true, silent: self.args.skip_success, ..self.somewhere(call, file) };
        let sync = Call::Fsync(u32::from(self.rng.below(2) == 0));
        self.push(write, &self.args.place.class)?;
        self.push(Request::new(sync, file), &self.args.place.class)
    }

    /// A request that fails: on a file that is read-only, on no file, on what is no storage, with a wrong argument or beyond
    /// what may be written.
    fn fail(&mut self) -> Result<()> {
        let class = &self.args.place.class;
        let beyond = |call| Request { offset: 2 * FILE_LIMIT, len: 100, ..Request::new(call, OUT) };
        let read_only = |call| Request { len: 100, ..Request::new(call, READ_ONLY) };
        match self.rng.below(9) {
            // The sync after it is cancelled; without a completion if the write was to have none.
            0 if self.args.mode.linked && !self.args.skip_success => self.pair(READ_ONLY),
            1 => self.push(Request { len: 100, ..Request::new(Call::Write, NONE) }, NO_FILE),
            2 => self.push(Request::new(Call::Fsync(0), NONE), NO_FILE),
            3 => self.push(Request::new(Call::Fsync(1), PIPE), NO_FILE),
            4 => self.push(Request { len: 100, ..Request::new(Call::SyncFileRange(0xff), OUT) }, class),
            5 => self.push(Request::new(Call::Fallocate, OUT), class),
            6 => self.push(beyond(Call::Write), class),
            7 => self.push(beyond(Call::Fallocate), class),
            // One that would have had no completion, had it succeeded.
            _ => {
                let silent = self.args.skip_success;
                self.push(Request { silent, ..read_only(Call::Writev) }, class)?;
                self.expected += usize::from(silent);
                Ok(())
            }
        }
    }

    /// A request for a random part of the file.
    fn somewhere(&mut self, call: Call, file: usize) -> Request {
        let (offset, len) = (self.rng.below(MAX_OFFSET), self.rng.index(MAX_SIZE) + 1);
        match call {
            Call::Fsync(_) => Request::new(call, file),
            _ => Request { offset, len, ..Request::new(call, file) },
        }
    }

    /// Makes the pipe hold at least so many bytes. They are not written to storage, and so are not counted.
    fn fill(&mut self, len: usize) -> Result<()> {
        let missing = len.saturating_sub(self.held);
        self.pipe.write_all(&[b's'; MAX_SIZE][..missing])?;
        self.held += missing;
        Ok(())
    }

    fn push(&mut self, request: Request, class: &'a str) -> Result<()> {
        let request = Request { forced: self.args.mode.iowq, ..request };
        self.ring.push(&request, (request.call.op(), class, request.silent))?;
        self.made += 1;
        self.expected += usize::from(!request.silent);
        Ok(())
    }

    /// Takes what completes. What is left then has ended in silence, because a sync waited for each.
    fn reap(&mut self) -> Result<()> {
        while self.expected > 0 {
            let Done { note: (op, class, silent), result, ns, .. } = self.ring.wait()?;
            self.expected -= 1;
            if op == Op::UringSplice {
                self.held -= result.as_ref().map_or(0, |bytes| *bytes);
                self.splicing = false;
            }
            if silent {
                // The kernel side has counted it as one whose end is not seen, before it failed.
                self.skipped += 1;
            } else {
                self.tally.on(class).request(op, &result, ns);
            }
        }
        self.skipped += self.ring.take_silent().count() as u64;
        Ok(())
    }
}
