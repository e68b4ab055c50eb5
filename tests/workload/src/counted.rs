//! The calls, each of which counts and times itself.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::time::Instant;

use stemedb_ebpf::ops::{Family, OPS, Op};

use crate::sys::{self, Mapping};
use crate::tally::ClassTally;

/// System calls on the files of one class: [`crate::Tally::on`]. Each method makes exactly one call of its name,
/// never repeats it, and returns what the kernel returned.
#[derive(Debug)]
pub struct Counted<'a> {
    class: &'a mut ClassTally,
    /// What a write counts as besides, when it is durable at its return.
    durable: Option<Op>,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(class: &'a mut ClassTally) -> Self {
        Self { class, durable: None }
    }

    /// For calls on a file that is open with `O_SYNC` or `O_DSYNC`, or with the `RWF_*` flag for it: each write is counted as
    /// a sync besides, of the operation [`Op::OSync`] or [`Op::ODsync`]. Its error is not counted twice.
    #[must_use]
    pub fn durably(self, op: Option<Op>) -> Self {
        Self { durable: op, ..self }
    }

    /// Counts a request that was made and timed elsewhere.
    pub fn request(&mut self, op: Op, result: &io::Result<usize>, ns: u64) {
        self.class.record(op, result, ns);
        if let Some(durable) = self.durable
            && OPS[op as usize].family == Family::Write
        {
            self.class.record(durable, &Ok(0), ns);
        }
    }

    /// `write(2)`
    pub fn write(&mut self, fd: &impl AsRawFd, data: &[u8]) -> io::Result<usize> {
        self.count(Op::Write, || sys::write(fd.as_raw_fd(), data))
    }

    /// `pwrite(2)`
    pub fn pwrite(&mut self, fd: &impl AsRawFd, data: &[u8], offset: u64) -> io::Result<usize> {
        self.count(Op::Pwrite, || sys::pwrite(fd.as_raw_fd(), data, offset))
    }

    /// `writev(2)`
    pub fn writev(&mut self, fd: &impl AsRawFd, parts: &[IoSlice]) -> io::Result<usize> {
        self.count(Op::Writev, || sys::writev(fd.as_raw_fd(), parts))
    }

    /// `pwritev(2)`
    pub fn pwritev(&mut self, fd: &impl AsRawFd, parts: &[IoSlice], offset: u64) -> io::Result<usize> {
        self.count(Op::Pwritev, || sys::pwritev(fd.as_raw_fd(), parts, offset))
    }

    /// `pwritev2(2)` with `RWF_*` flags
    pub fn pwritev2(&mut self, fd: &impl AsRawFd, parts: &[IoSlice], offset: u64, flags: i32) -> io::Result<usize> {
        self.count(Op::Pwritev2, || sys::pwritev2(fd.as_raw_fd(), parts, offset, flags))
    }

    /// `sendfile(2)` from the start of a file to the position of another
    pub fn sendfile(&mut self, to: &impl AsRawFd, from: &impl AsRawFd, len: usize) -> io::Result<usize> {
        self.count(Op::Sendfile, || sys::sendfile(to.as_raw_fd(), from.as_raw_fd(), len))
    }

    /// `splice(2)` from a pipe to the position of a file
    pub fn splice(&mut self, to: &impl AsRawFd, from: &impl AsRawFd, len: usize) -> io::Result<usize> {
        self.count(Op::Splice, || sys::splice(to.as_raw_fd(), from.as_raw_fd(), len))
    }

    /// `copy_file_range(2)` from the start of a file
    pub fn copy_file_range(
        &mut self,
        to: &impl AsRawFd,
        offset: u64,
        from: &impl AsRawFd,
        len: usize,
    ) -> io::Result<usize> {
        self.count(Op::CopyFileRange, || sys::copy_file_range(to.as_raw_fd(), offset, from.as_raw_fd(), len))
    }

    /// `fallocate(2)` with `FALLOC_FL_*` as its mode
    pub fn fallocate(&mut self, fd: &impl AsRawFd, mode: i32, offset: u64, len: u64) -> io::Result<usize> {
        self.count(Op::Fallocate, || sys::fallocate(fd.as_raw_fd(), mode, offset, len))
    }

    /// `fsync(2)`
    pub fn fsync(&mut self, fd: &impl AsRawFd) -> io::Result<usize> {
        self.count(Op::Fsync, || sys::fsync(fd.as_raw_fd()))
    }

    /// `fdatasync(2)`
    pub fn fdatasync(&mut self, fd: &impl AsRawFd) -> io::Result<usize> {
        self.count(Op::Fdatasync, || sys::fdatasync(fd.as_raw_fd()))
    }

    /// `sync_file_range(2)` with `SYNC_FILE_RANGE_*` flags
    pub fn sync_file_range(&mut self, fd: &impl AsRawFd, offset: u64, len: u64, flags: u32) -> io::Result<usize> {
        self.count(Op::SyncFileRange, || sys::sync_file_range(fd.as_raw_fd(), offset, len, flags))
    }

    /// `msync(2)` of a part of a mapped file, with `MS_*` flags
    pub fn msync(&mut self, map: &Mapping, offset: usize, len: usize, flags: i32) -> io::Result<usize> {
        self.count(Op::Msync, || map.sync(offset, len, flags))
    }

    /// `syncfs(2)`
    pub fn syncfs(&mut self, fd: &impl AsRawFd) -> io::Result<usize> {
        self.count(Op::Syncfs, || sys::syncfs(fd.as_raw_fd()))
    }

    /// `sync(2)`, which is about no one file: it belongs to the class `other`
    pub fn sync(&mut self) -> io::Result<usize> {
        self.count(Op::Sync, || {
            sys::sync();
            Ok(0)
        })
    }

    /// Makes the call, with the monotonic clock read right before and right after it.
    fn count(&mut self, op: Op, call: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        let start = Instant::now();
        let result = call();
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.request(op, &result, ns);
        result
    }
}
