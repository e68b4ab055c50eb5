//! The fsync and write families by the system calls themselves: by `fentry` and `fexit` on the functions of just those calls,
//! or by the two tracepoints that every system call passes. Both give the same registers, and all that follows is the same.

use aya_ebpf::helpers::generated::bpf_find_vma;
use aya_ebpf::macros::{btf_tracepoint, fentry, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, FExitContext};
use stemedb_ebpf::ops::{AIO_SUBMIT, COMPAT, NO_OP, OPS, Op, URING_SUBMIT};
use stemedb_ebpf::{InflightKey, Lost, UNRESOLVED};

use crate::kernel::call::{self, Begin, rwf};
use crate::kernel::file::{self, File};
use crate::kernel::maps::{lost, offset, op_of_syscall, setting};
use crate::kernel::read::{self, Addr};
use crate::kernel::task::{self, Watched};

const ENOENT: i64 = -2;

/// `sys_enter(regs, id)`
#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter(ctx: BtfTracePointContext) -> i32 {
    enter(op_of_syscall(ctx.arg::<u64>(1)), ctx.arg(0));
    0
}

/// `sys_exit(regs, ret)`
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    exit(ctx.arg(0), ctx.arg::<i64>(1));
    0
}

/// `__x64_sys_NAME(regs)` and its like on other architectures.
#[fentry]
pub fn syscall_enter(ctx: FEntryContext) -> i32 {
    let regs: *const u8 = ctx.arg(0);
    // SAFETY: a typed argument of the function.
    enter(op_of_syscall(unsafe { task::syscall_number(regs) }), regs);
    0
}

/// The result follows the one argument.
#[fexit]
pub fn syscall_exit(ctx: FExitContext) -> i32 {
    exit(ctx.arg(0), ctx.arg::<i64>(1));
    0
}

/// The functions of 32-bit system calls.
#[fentry]
pub fn compat_enter(_ctx: FEntryContext) -> i32 {
    if task::watched().is_some() {
        lost(Lost::CompatSyscall);
    }
    0
}

/// One comparison tells whether a call is of interest, one look-up whether its process is.
#[inline(always)]
fn enter(meaning: u8, regs: *const u8) {
    if meaning == NO_OP {
        return;
    }
    let Some(thread) = task::watched() else { return };
    let op = meaning & !COMPAT;
    if task::is_compat(thread.task) {
        if meaning & COMPAT != 0 {
            lost(Lost::CompatSyscall);
        }
    } else if op == AIO_SUBMIT {
        lost(Lost::AsyncSubmit);
    } else if op == URING_SUBMIT {
        lost(Lost::UringSubmit);
    } else if op != NO_OP {
        begin(thread, op, regs);
    }
}

#[inline(always)]
fn exit(regs: *const u8, ret: i64) {
    // SAFETY: a typed argument of the tracepoint or the function.
    let op = op_of_syscall(unsafe { task::syscall_number(regs) }) & !COMPAT;
    if op as usize >= OPS.len() {
        return;
    }
    let key = InflightKey::call(task::thread(), op);
    let Some(call) = call::in_flight(key) else { return };
    if op == Op::Msync as u8 && call.flags & UNRESOLVED != 0 {
        // SAFETY: as above.
        let (file, _) = mapped_file(unsafe { task::syscall_argument(regs, 0) });
        call::resolve(call, &file);
    }
    call::finish(call, ret);
}

#[inline(always)]
fn begin(thread: Watched, op: u8, regs: *const u8) {
    let key = InflightKey::call(thread.thread as u32, op);
    let mut what = Begin { op, thread: thread.thread, target: thread.target, flags: 0, is_request: false };
    if op == Op::Msync as u8 {
        // SAFETY: as in `exit`.
        let (file, flags) = mapped_file(unsafe { task::syscall_argument(regs, 0) });
        what.flags = flags;
        call::begin(key, what, &file);
        return;
    }
    if op == Op::Sync as u8 {
        call::begin(key, what, &File::NONE);
        return;
    }
    let fd = if op == Op::Splice as u8 || op == Op::CopyFileRange as u8 { 2 } else { 0 };
    // SAFETY: as in `exit`.
    let found = file::descriptor(thread.task, unsafe { task::syscall_argument(regs, fd) } as u32);
    let Ok(file) = file::of_interest(found, op) else { return };
    if op == Op::Pwritev2 as u8 {
        // SAFETY: as in `exit`.
        what.flags = rwf(unsafe { task::syscall_argument(regs, 5) } as u32);
    }
    call::begin(key, what, &file);
}

/// The file that is mapped at an address of the current process, and what to note about the look-up.
#[inline(always)]
fn mapped_file(address: u64) -> (File, u32) {
    if setting!(find_vma) == 0 {
        return (File::NONE, UNRESOLVED);
    }
    let mut file: Addr = 0;
    // SAFETY: the helper calls `vma_file` at once, with the pointer that is given here.
    let found = unsafe {
        bpf_find_vma(
            task::current().cast_mut().cast(),
            address,
            vma_file as *mut core::ffi::c_void,
            (&raw mut file).cast(),
            0,
        )
    };
    match found {
        0 if file != 0 => File::at(file).map_or((File::NONE, UNRESOLVED), |file| (file, 0)),
        // Anonymous memory, or nothing at all: there is no file to charge.
        0 | ENOENT => (File::NONE, 0),
        // The address space is being changed by another thread. At the call's end it may not be any more.
        _ => (File::NONE, UNRESOLVED),
    }
}

extern "C" fn vma_file(_task: u64, vma: u64, file: *mut Addr) -> i64 {
    if let Some(found) = read::at::<Addr>(vma, offset!(vma_file)) {
        // SAFETY: the caller's own variable.
        unsafe { *file = found }
    }
    0
}
