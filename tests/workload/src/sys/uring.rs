//! io_uring: a ring that owns the memory of its requests, and times each of them.

use std::io;
use std::os::fd::RawFd;
use std::thread;
use std::time::Instant;

use io_uring::types::{Fd, Fixed, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use stemedb_ebpf::ops::Op;

/// `IORING_ENTER_GETEVENTS`: has completions posted that wait for their thread.
const GET_EVENTS: u32 = 1;
/// Milliseconds after which the kernel's polling thread sleeps.
const POLLER_SLEEPS: u32 = 1;

/// How a ring is made.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the kernel's interface")]
pub struct Setup {
    /// `IORING_SETUP_SQPOLL`: a kernel thread takes the requests.
    pub sqpoll: bool,
    /// Requests name registered files.
    pub registered_files: bool,
    /// The memory of the requests is registered, as [`Call::WriteFixed`] needs it.
    pub fixed_buffers: bool,
    /// `IORING_SETUP_DEFER_TASKRUN`: completions are posted when the ring's thread asks for them. Linux 6.1.
    pub defer_taskrun: bool,
}

/// What is asked for. A write is of the first `len` bytes of the request's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `IORING_OP_WRITE`
    Write,
    /// `IORING_OP_WRITEV` of two halves
    Writev,
    /// `IORING_OP_WRITE_FIXED`
    WriteFixed,
    /// `IORING_OP_FSYNC` with these flags: 0, 1 (`IORING_FSYNC_DATASYNC`), or others, which the kernel refuses.
    Fsync(u32),
    /// `IORING_OP_SYNC_FILE_RANGE` with `SYNC_FILE_RANGE_*` flags
    SyncFileRange(u32),
    /// `IORING_OP_FALLOCATE`
    Fallocate,
    /// `IORING_OP_SPLICE` from a pipe, which is this file of the ring's
    Splice(usize),
}

impl Call {
    /// Its operation.
    #[must_use]
    pub fn op(self) -> Op {
        match self {
            Self::Write => Op::UringWrite,
            Self::Writev => Op::UringWritev,
            Self::WriteFixed => Op::UringWriteFixed,
            Self::Fsync(flags) if flags & FsyncFlags::DATASYNC.bits() != 0 => Op::UringFdatasync,
            Self::Fsync(_) => Op::UringFsync,
            Self::SyncFileRange(_) => Op::UringSyncFileRange,
            Self::Fallocate => Op::UringFallocate,
            Self::Splice(_) => Op::UringSplice,
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What is asked for.
    pub call: Call,
    /// Which file of the ring's; a number beyond them is no file.
    pub file: usize,
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub len: usize,
    /// `RWF_*` flags of a write.
    pub rw_flags: i32,
    /// `IOSQE_IO_LINK`: the next request waits for this one, and is cancelled if it fails.
    pub linked: bool,
    /// `IOSQE_ASYNC`: a worker thread does it.
    pub forced: bool,
    /// `IOSQE_CQE_SKIP_SUCCESS`: no completion unless it fails.
    pub silent: bool,
}

impl Request {
    /// A request without flags.
    #[must_use]
    pub fn new(call: Call, file: usize) -> Self {
        Self { call, file, offset: 0, len: 0, rw_flags: 0, linked: false, forced: false, silent: false }
    }

    fn flags(&self) -> squeue::Flags {
        let flag = |set, flag| if set { flag } else { squeue::Flags::empty() };
        flag(self.linked, squeue::Flags::IO_LINK)
            | flag(self.forced, squeue::Flags::ASYNC)
            | flag(self.silent, squeue::Flags::SKIP_SUCCESS)
    }
}

/// A request that has completed.
#[derive(Debug)]
pub struct Done<T> {
    /// What was given with it.
    pub note: T,
    /// Its result.
    pub result: io::Result<usize>,
    /// From before it was submitted to after its completion was seen.
    pub ns: u64,
    /// From after the kernel had taken it to the last look that did not find a completion, so never longer than the kernel's
    /// own time; 0 where nobody looked in between.
    pub within_ns: u64,
}

/// The memory of one request, and what is known of it while it runs.
struct Slot<T> {
    data: Box<[u8]>,
    parts: Box<[libc::iovec; 2]>,
    running: Option<Running<T>>,
}

struct Running<T> {
    note: T,
    begun: Instant,
    taken: Option<Instant>,
}

/// A ring; `T` is what its owner notes of each request.
pub struct Ring<T> {
    kernel: IoUring,
    setup: Setup,
    files: Vec<RawFd>,
    slots: Vec<Slot<T>>,
    empty_at: Option<Instant>,
}

// SAFETY: the pointers in a slot are to memory that the slot owns.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    /// A ring for so many requests at a time, each with so many bytes of memory. The files have to stay open for as long as
    /// it is used.
    pub fn new(setup: Setup, files: &[RawFd], requests: u32, bytes: usize) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        if setup.sqpoll {
            builder.setup_sqpoll(POLLER_SLEEPS);
        }
        if setup.defer_taskrun {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        let ring = builder.build(requests)?;
        let slots: Vec<Slot<T>> = (0..requests).map(|_| Slot::new(bytes)).collect();
        if setup.registered_files {
            ring.submitter().register_files(files)?;
        }
        if setup.fixed_buffers {
            let memory: Vec<libc::iovec> = slots.iter().map(|slot| iovec(&slot.data)).collect();
            // SAFETY: the memory is freed after the ring is closed, or not at all.
            unsafe { ring.submitter().register_buffers(&memory)? };
        }
        Ok(Self { kernel: ring, setup, files: files.to_vec(), slots, empty_at: None })
    }

    /// Requests that could be added now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.slots.iter().filter(|slot| slot.running.is_none()).count()
    }

    /// Puts a request into the queue; [`Ring::submit`] hands it over.
    pub fn push(&mut self, request: &Request, note: T) -> io::Result<()> {
        let full = || io::Error::other("more requests than the ring was made for");
        let index = self.slots.iter().position(|slot| slot.running.is_none()).ok_or_else(full)?;
        let entry = self.entry(request, index)?.flags(request.flags()).user_data(index as u64);
        // SAFETY: what the entry points to belongs to the slot, which is not used again until the request has ended.
        unsafe { self.kernel.submission().push(&entry) }.map_err(|_| full())?;
        self.slots[index].running = Some(Running { note, begun: Instant::now(), taken: None });
        Ok(())
    }

    /// Hands over all that is in the queue.
    pub fn submit(&mut self) -> io::Result<()> {
        loop {
            match self.kernel.submit() {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.note_taken();
            if self.setup.sqpoll || self.kernel.submission().is_empty() {
                return Ok(());
            }
        }
    }

    /// A completion, if there is one.
    pub fn look(&mut self) -> io::Result<Option<Done<T>>> {
        self.note_taken();
        let looked = Instant::now();
        if self.setup.defer_taskrun {
            // SAFETY: the call takes no argument.
            unsafe { self.kernel.submitter().enter::<libc::sigset_t>(0, 0, GET_EVENTS, None)? };
        }
        let Some(entry) = self.kernel.completion().next() else {
            self.empty_at = Some(looked);
            return Ok(None);
        };
        let now = Instant::now();
        let slot = usize::try_from(entry.user_data()).ok().and_then(|index| self.slots.get_mut(index));
        let running = slot.and_then(|slot| slot.running.take());
        let Running { note, begun, taken } = running.ok_or_else(|| io::Error::other("a completion of no request"))?;
        let within = taken.zip(self.empty_at).map(|(taken, empty)| empty.saturating_duration_since(taken));
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let result = usize::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()));
        Ok(Some(Done { note, result, ns: ns(now - begun), within_ns: within.map_or(0, ns) }))
    }

    /// Sleeps until there is a completion.
    pub fn wait(&mut self) -> io::Result<Done<T>> {
        loop {
            if let Some(done) = self.look()? {
                return Ok(done);
            }
            match self.kernel.submit_and_wait(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }

    /// Looks until there is a completion, so that [`Done::within_ns`] is long.
    pub fn watch(&mut self) -> io::Result<Done<T>> {
        loop {
            match self.look()? {
                Some(done) => return Ok(done),
                None => thread::yield_now(),
            }
        }
    }

    /// Takes the requests that have not completed. Only for those that have ended without a completion.
    pub fn take_silent(&mut self) -> impl Iterator<Item = T> {
        self.slots.iter_mut().filter_map(|slot| slot.running.take()).map(|running| running.note)
    }

    /// Notes the time at which the kernel is known to have taken all requests.
    fn note_taken(&mut self) {
        if self.slots.iter().flat_map(|slot| &slot.running).any(|running| running.taken.is_none())
            && self.kernel.submission().is_empty()
        {
            let now = Instant::now();
            for running in self.slots.iter_mut().filter_map(|slot| slot.running.as_mut()) {
                running.taken.get_or_insert(now);
            }
        }
    }

    fn entry(&mut self, request: &Request, index: usize) -> io::Result<squeue::Entry> {
        let len = u32::try_from(request.len).map_err(io::Error::other)?;
        let buffer = u16::try_from(index).map_err(io::Error::other)?;
        let (data, parts) = self.slots[index].memory(request.len);
        let (offset, flags) = (request.offset, request.rw_flags);
        let descriptor = |file: usize| Fd(self.files.get(file).copied().unwrap_or(-1));
        /// A file is named in one of two ways, of which each is a type.
        macro_rules! entry {
            ($file:expr) => {
                match request.call {
                    Call::Write => opcode::Write::new($file, data, len).offset(offset).rw_flags(flags).build(),
                    Call::Writev => opcode::Writev::new($file, parts, 2).offset(offset).rw_flags(flags).build(),
                    Call::WriteFixed => {
                        opcode::WriteFixed::new($file, data, len, buffer).offset(offset).rw_flags(flags).build()
                    }
                    Call::Fsync(flags) => opcode::Fsync::new($file).flags(FsyncFlags::from_bits_retain(flags)).build(),
                    Call::SyncFileRange(flags) => {
                        opcode::SyncFileRange::new($file, len).offset(offset).flags(flags).build()
                    }
                    Call::Fallocate => opcode::Fallocate::new($file, u64::from(len)).offset(offset).build(),
                    Call::Splice(pipe) => {
                        opcode::Splice::new(descriptor(pipe), -1, $file, offset.cast_signed(), len).build()
                    }
                }
            };
        }
        Ok(if self.setup.registered_files {
            entry!(Fixed(u32::try_from(request.file).map_err(io::Error::other)?))
        } else {
            entry!(descriptor(request.file))
        })
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if self.slots.iter().any(|slot| slot.running.is_some()) {
            // The kernel may still read it.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

impl<T> Slot<T> {
    fn new(bytes: usize) -> Self {
        let data = vec![b'u'; bytes].into_boxed_slice();
        let parts = Box::new([iovec(&data), iovec(&data)]);
        Self { data, parts, running: None }
    }

    /// The first bytes of the memory, as one and as two parts.
    fn memory(&mut self, len: usize) -> (*const u8, *const libc::iovec) {
        let (first, second) = self.data[..len.min(self.data.len())].split_at(len.min(self.data.len()) / 2);
        *self.parts = [iovec(first), iovec(second)];
        (self.data.as_ptr(), self.parts.as_ptr())
    }
}

fn iovec(data: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() }
}
