//! The kernel's own asynchronous I/O (`io_submit(2)`), which libaio wraps. The C library has no functions for it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Instant;

use stemedb_ebpf::ops::Op;

use super::outcome;

/// A file that is opened with `O_DIRECT` is written to from an address, at an offset and in a length that this divides.
pub const ALIGNMENT: usize = 4096;

/// What is asked for; the values are those of `IOCB_CMD_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Command {
    /// `IOCB_CMD_PWRITE`
    Pwrite = 1,
    /// `IOCB_CMD_FSYNC`
    Fsync = 2,
    /// `IOCB_CMD_FDSYNC`
    Fdsync = 3,
    /// `IOCB_CMD_PWRITEV` of two halves
    Pwritev = 8,
}

impl Command {
    /// Its operation.
    #[must_use]
    pub fn op(self) -> Op {
        match self {
            Self::Pwrite => Op::AioPwrite,
            Self::Fsync => Op::AioFsync,
            Self::Fdsync => Op::AioFdsync,
            Self::Pwritev => Op::AioPwritev,
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What is asked for.
    pub command: Command,
    /// The file.
    pub fd: RawFd,
    /// Where in the file.
    pub offset: u64,
    /// How many bytes of the context's memory.
    pub len: usize,
    /// `RWF_*` flags of a write.
    pub rw_flags: i32,
}

/// A request that has completed.
#[derive(Debug)]
pub struct Done {
    /// Its place in what was submitted.
    pub index: usize,
    /// Its result.
    pub result: io::Result<usize>,
    /// From before it was submitted to after its completion was seen.
    pub ns: u64,
}

/// `struct iocb` (include/uapi/linux/aio_abi.h), little-endian
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    command: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_fd: u32,
}

/// `struct io_event`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    iocb: u64,
    result: i64,
    second: i64,
}

/// A page, so that the memory is aligned.
#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Page([u8; ALIGNMENT]);

/// A context and the memory that its writes are from.
pub struct Context {
    id: u64,
    memory: Box<[Page]>,
}

impl Context {
    /// `io_setup(2)` for so many requests, with so many bytes of memory.
    pub fn new(requests: usize, bytes: usize) -> io::Result<Self> {
        let mut id = 0_u64;
        // SAFETY: the kernel writes the id of the context.
        outcome(unsafe { libc::syscall(libc::SYS_io_setup, requests, &raw mut id) })?;
        Ok(Self { id, memory: vec![Page([b'l'; ALIGNMENT]); bytes.div_ceil(ALIGNMENT)].into() })
    }

    /// One `io_submit(2)` of all the requests, then `io_getevents(2)` until all have completed. An error when the kernel refuses
    /// a request instead of completing it.
    pub fn run(&mut self, requests: &[Request]) -> io::Result<Vec<Done>> {
        let start = self.memory.as_ptr() as u64;
        let room = size_of_val::<[Page]>(&self.memory);
        let half = |len: usize| (len / 2).next_multiple_of(ALIGNMENT).min(len);
        let parts: Vec<[libc::iovec; 2]> = requests
            .iter()
            .map(|request| {
                let first = half(request.len);
                let part = |at: usize, len| libc::iovec { iov_base: (start + at as u64) as *mut _, iov_len: len };
                [part(0, first), part(first, request.len - first)]
            })
            .collect();
        let mut iocbs = Vec::with_capacity(requests.len());
        for (index, (request, parts)) in requests.iter().zip(&parts).enumerate() {
            if request.len > room {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let (buffer, bytes) = match request.command {
                Command::Pwrite => (start, request.len as u64),
                Command::Pwritev => (parts.as_ptr() as u64, 2),
                Command::Fsync | Command::Fdsync => (0, 0),
            };
            iocbs.push(Iocb {
                data: index as u64,
                rw_flags: request.rw_flags,
                command: request.command as u16,
                fd: request.fd.cast_unsigned(),
                buffer,
                bytes,
                offset: request.offset.cast_signed(),
                ..Iocb::default()
            });
        }
        let pointers: Vec<*const Iocb> = iocbs.iter().map(ptr::from_ref).collect();
        let begun = Instant::now();
        // SAFETY: the requests, and the memory that they name, outlive their completion, for which this waits.
        let accepted =
            outcome(unsafe { libc::syscall(libc::SYS_io_submit, self.id, pointers.len(), pointers.as_ptr()) })?;
        let done = self.events(accepted, begun)?;
        if accepted == requests.len() { Ok(done) } else { Err(io::Error::other("io_submit has refused a request")) }
    }

    fn events(&self, count: usize, begun: Instant) -> io::Result<Vec<Done>> {
        let mut done = Vec::with_capacity(count);
        while done.len() < count {
            let mut events = [Event::default(); 32];
            let room = events.len();
            let null = ptr::null::<libc::timespec>();
            // SAFETY: there is room for so many events.
            let got = unsafe { libc::syscall(libc::SYS_io_getevents, self.id, 1, room, events.as_mut_ptr(), null) };
            match outcome(got) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                got => done.extend(events[..got.unwrap_or(0)].iter().map(|event| event.done(begun))),
            }
        }
        Ok(done)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the call waits for what is in flight, so that the memory is not used afterwards.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}

impl Event {
    fn done(&self, begun: Instant) -> Done {
        let result = usize::try_from(self.result)
            .map_err(|_| io::Error::from_raw_os_error(i32::try_from(-self.result).unwrap_or(i32::MAX)));
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Done { index: usize::try_from(self.data).unwrap_or(usize::MAX), result, ns }
    }
}

impl Request {
    /// A request on a file.
    #[must_use]
    pub fn new(command: Command, file: &impl AsRawFd) -> Self {
        Self { command, fd: file.as_raw_fd(), offset: 0, len: 0, rw_flags: 0 }
    }
}
