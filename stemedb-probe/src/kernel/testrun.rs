//! Runs the program `resolve` once, in the agent's own context. aya has no call for `BPF_PROG_TEST_RUN` of a raw
//! tracepoint.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// `BPF_PROG_TEST_RUN` (include/uapi/linux/bpf.h).
const BPF_PROG_TEST_RUN: libc::c_int = 10;

/// The part of `union bpf_attr` that the command reads; all of it, up to 6.18.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// Runs a raw tracepoint program with one argument; returns what it returned.
pub fn run(program: BorrowedFd<'_>, argument: u64) -> io::Result<i32> {
    let context = [argument];
    let mut attr = TestRun {
        prog_fd: u32::try_from(program.as_fd().as_raw_fd()).map_err(io::Error::other)?,
        ctx_size_in: 8,
        ctx_in: context.as_ptr() as u64,
        ..TestRun::default()
    };
    // SAFETY: `attr` has the layout that the kernel expects, and `context` outlives the call.
    let status = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attr, size_of::<TestRun>()) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(attr.retval.cast_signed())
}
