//! System calls without anything around them: each function makes one call, does not repeat it when it is
//! interrupted or short, and has no other way when the kernel refuses it.

pub mod aio;
pub mod uring;

use std::ffi::CStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use libc::{c_int, c_long, off_t};

/// What a call returned: a count, or -1 and `errno`.
fn outcome(returned: impl TryInto<usize>) -> io::Result<usize> {
    returned.try_into().map_err(|_| io::Error::last_os_error())
}

fn iovecs(parts: &[IoSlice]) -> (*const libc::iovec, c_int) {
    (parts.as_ptr().cast(), c_int::try_from(parts.len()).unwrap_or(c_int::MAX))
}

/// How often the calling thread lost the processor although it could go on (`ru_nivcsw` of `getrusage(2)`)
pub fn preemptions() -> io::Result<u64> {
    // SAFETY: all zeroes is a value of this structure of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` outlives the call.
    outcome(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) })?;
    Ok(usage.ru_nivcsw.cast_unsigned())
}

/// `write(2)`
pub fn write(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of a slice.
    outcome(unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) })
}

/// `pwrite(2)`
pub fn pwrite(fd: RawFd, data: &[u8], offset: u64) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of a slice.
    outcome(unsafe { libc::pwrite(fd, data.as_ptr().cast(), data.len(), offset.cast_signed()) })
}

/// `writev(2)`
pub fn writev(fd: RawFd, parts: &[IoSlice]) -> io::Result<usize> {
    let (iov, count) = iovecs(parts);
    // SAFETY: `IoSlice` has the layout of `iovec`, and there are `count` of them.
    outcome(unsafe { libc::writev(fd, iov, count) })
}

/// `pwritev(2)`
pub fn pwritev(fd: RawFd, parts: &[IoSlice], offset: u64) -> io::Result<usize> {
    let (iov, count) = iovecs(parts);
    // SAFETY: as for `writev`.
    outcome(unsafe { libc::pwritev(fd, iov, count, offset.cast_signed()) })
}

/// `pwritev2(2)`
pub fn pwritev2(fd: RawFd, parts: &[IoSlice], offset: u64, flags: i32) -> io::Result<usize> {
    let (iov, count) = iovecs(parts);
    // The C library would fall back to `pwritev`. The offset is passed in two halves, of which a 64-bit kernel
    // ignores the upper one.
    let upper: c_long = 0;
    // SAFETY: as for `writev`.
    outcome(unsafe { libc::syscall(libc::SYS_pwritev2, fd, iov, c_long::from(count), offset, upper, flags) })
}

/// `sendfile(2)` from the start of `from`
pub fn sendfile(to: RawFd, from: RawFd, len: usize) -> io::Result<usize> {
    let mut start: off_t = 0;
    // SAFETY: `start` outlives the call.
    outcome(unsafe { libc::sendfile(to, from, &raw mut start, len) })
}

/// `splice(2)` from a pipe to the position of a file
pub fn splice(to: RawFd, from: RawFd, len: usize) -> io::Result<usize> {
    // SAFETY: null stands for the position of the file.
    outcome(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), len, 0) })
}

/// `copy_file_range(2)` from the start of `from`
pub fn copy_file_range(to: RawFd, offset: u64, from: RawFd, len: usize) -> io::Result<usize> {
    let (mut start, mut end) = (0_i64, offset.cast_signed());
    let number = libc::SYS_copy_file_range;
    // SAFETY: both offsets outlive the call.
    outcome(unsafe { libc::syscall(number, from, &raw mut start, to, &raw mut end, len, 0_u64) })
}

/// `fallocate(2)`
pub fn fallocate(fd: RawFd, mode: i32, offset: u64, len: u64) -> io::Result<usize> {
    // SAFETY: the call takes no pointer.
    outcome(unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, len) })
}

/// `fsync(2)`
pub fn fsync(fd: RawFd) -> io::Result<usize> {
    // SAFETY: the call takes no pointer.
    outcome(unsafe { libc::fsync(fd) })
}

/// `fdatasync(2)`
pub fn fdatasync(fd: RawFd) -> io::Result<usize> {
    // SAFETY: the call takes no pointer.
    outcome(unsafe { libc::fdatasync(fd) })
}

/// `sync_file_range(2)`
pub fn sync_file_range(fd: RawFd, offset: u64, len: u64, flags: u32) -> io::Result<usize> {
    // SAFETY: the call takes no pointer.
    outcome(unsafe { libc::syscall(libc::SYS_sync_file_range, fd, offset, len, flags) })
}

/// Drops the clean pages of a file from the page cache (`posix_fadvise(2)`)
pub fn forget_pages(fd: RawFd) -> io::Result<()> {
    // SAFETY: the call has no precondition.
    match unsafe { libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// `syncfs(2)`
pub fn syncfs(fd: RawFd) -> io::Result<usize> {
    // SAFETY: the call takes no pointer.
    outcome(unsafe { libc::syscall(libc::SYS_syncfs, fd) })
}

/// `sync(2)`
pub fn sync() {
    // SAFETY: the call takes nothing.
    unsafe { libc::sync() }
}

/// A shared, writable mapping of the start of a file.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone; it is reached through `&mut`, and through `&` only atomically.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a file, which has to be at least as long.
    pub fn new(file: &impl AsRawFd, len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses the address, so nothing that is mapped already is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { start, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Changes one byte of the file through the mapping; nothing beyond its end.
    pub fn set(&mut self, at: usize, value: u8) {
        if at < self.len {
            // SAFETY: `at` is inside the mapping.
            unsafe { self.start.as_ptr().add(at).write_volatile(value) }
        }
    }

    /// `msync(2)` with `MS_*` flags; `offset` has to be that of a page.
    pub fn sync(&self, offset: usize, len: usize, flags: i32) -> io::Result<usize> {
        let start = self.start.as_ptr().wrapping_add(offset);
        // SAFETY: the kernel checks the range, and changes no memory.
        outcome(unsafe { libc::msync(start.cast(), len, flags) })
    }

    /// Changes the first byte of each `step` bytes, also while other threads do. Whoever reads the file finds `value` there.
    pub fn touch(&self, step: usize, value: u8) {
        for at in (0..self.len).step_by(step) {
            // SAFETY: `at` is inside the mapping, and every access to a byte that threads share is atomic.
            unsafe { AtomicU8::from_ptr(self.start.as_ptr().add(at)) }.store(value, Ordering::Relaxed);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping's, to which no reference is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Limits the size of the files that this process writes (`RLIMIT_FSIZE`, the soft one). A write beyond it fails with `EFBIG`
/// and sends no signal.
pub fn limit_file_size(bytes: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the calls; a signal that is ignored has no handler to be unsafe.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        outcome(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit))?;
        limit.rlim_cur = bytes;
        outcome(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit)).map(drop)
    }
}

/// Nanoseconds of the monotonic clock, which all processes share.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Sets the name of the current thread, `comm`.
pub fn set_comm(name: &CStr) -> io::Result<()> {
    // SAFETY: the name ends with a zero.
    outcome(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }).map(|_| ())
}

/// The whole of a short life: takes a name if there is one, creates a file, writes to it once, syncs it once and
/// removes it. Returns which step failed. Only makes system calls, so it is fit for the time after a fork.
#[must_use]
pub fn short_life(path: &CStr, data: &[u8], comm: Option<&CStr>) -> u8 {
    if comm.is_some_and(|name| set_comm(name).is_err()) {
        return 1;
    }
    // SAFETY: the path ends with a zero.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC, 0o600) };
    if fd < 0 {
        return 2;
    }
    if !write(fd, data).is_ok_and(|written| written == data.len()) {
        return 3;
    }
    if fsync(fd).is_err() {
        return 4;
    }
    // SAFETY: the path ends with a zero.
    if unsafe { libc::unlink(path.as_ptr()) } < 0 { 5 } else { 0 }
}

/// Forks a child that lives a [`short_life`] and ends with its result as the exit status.
pub fn fork_short_life(path: &CStr, data: &[u8], comm: Option<&CStr>) -> io::Result<libc::pid_t> {
    // SAFETY: the child makes system calls only, and so needs no lock that another thread may have held.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: nothing runs at this exit, neither here nor in the parent.
        0 => unsafe { libc::_exit(c_int::from(short_life(path, data, comm))) },
        child => Ok(child),
    }
}

/// Waits for the end of a forked child and returns its exit status, or -1 when a signal ended it.
pub fn wait_for(child: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    outcome(unsafe { libc::waitpid(child, &raw mut status, 0) })?;
    Ok(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 })
}

static TERMINATED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_terminate(_signal: c_int) {
    TERMINATED.store(true, Ordering::Relaxed);
}

/// From now on, SIGTERM and SIGINT only set a flag, which is returned.
#[must_use]
pub fn catch_termination() -> &'static AtomicBool {
    let handler = on_terminate as extern "C" fn(c_int);
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the handler stores to an atomic and does nothing else.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
    &TERMINATED
}
