//! The fsync and write families by the two tracepoints that every system call passes. One comparison tells
//! whether a call is of interest, one look-up whether its process is.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_find_vma, bpf_get_current_task_btf};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use stemedb_ebpf::ops::{ASYNC_OP, COMPAT, NO_OP, Op};
use stemedb_ebpf::{Lost, UNRESOLVED};

use crate::kernel::call;
use crate::kernel::file::{self, Descriptor, File};
use crate::kernel::maps::{TARGETS, lost, offset, op_of_syscall, setting};
use crate::kernel::read::{self, Addr};

const RWF_DSYNC_OR_SYNC: u64 = 2 | 4;
const ENOENT: i64 = -2;

#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter(ctx: BtfTracePointContext) -> i32 {
    let meaning = op_of_syscall(ctx.arg::<u64>(1));
    if meaning == NO_OP {
        return 0;
    }
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is copied at once; a reused one is another target's.
    let Some(target) = (unsafe { TARGETS.get((thread >> 32) as u32) }).map(|entry| entry.target) else { return 0 };
    let regs: *const u8 = ctx.arg(0);
    let op = meaning & !COMPAT;
    if is_compat() {
        if meaning & COMPAT != 0 {
            lost(Lost::CompatSyscall);
        }
    } else if op == ASYNC_OP {
        lost(Lost::AsyncSubmit);
    } else if op != NO_OP {
        enter(thread as u32, op, target, regs);
    }
    0
}

#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    let regs: *const u8 = ctx.arg(0);
    let op = op_of_syscall(number(regs)) & !COMPAT;
    if op == NO_OP || op == ASYNC_OP {
        return 0;
    }
    call::end(bpf_get_current_pid_tgid() as u32, op, ctx.arg::<i64>(1));
    0
}

#[inline(always)]
fn enter(tid: u32, op: u8, target: u32, regs: *const u8) {
    if op == Op::Msync as u8 {
        let (file, flags) = mapped_file(argument(regs, 0));
        call::begin(tid, op, target, file.as_ref(), flags);
        return;
    }
    if op == Op::Sync as u8 {
        call::begin(tid, op, target, None, 0);
        return;
    }
    let fd =
        if op == Op::Splice as u8 || op == Op::CopyFileRange as u8 { argument(regs, 2) } else { argument(regs, 0) };
    let file = match file::descriptor(fd as u32) {
        Descriptor::Open(file) => Some(file),
        Descriptor::Closed => None,
        Descriptor::Unreadable => {
            lost(Lost::KernelRead);
            None
        }
    };
    if let Some(file) = &file
        && !file.is_storage()
    {
        // A write to a socket or a pipe is none of ours; a sync of one is a mistake worth counting.
        if op >= Op::Write as u8 {
            return;
        }
        call::begin(tid, op, target, None, 0);
        return;
    }
    let durable = op == Op::Pwritev2 as u8 && argument(regs, 5) & RWF_DSYNC_OR_SYNC != 0;
    call::begin(tid, op, target, file.as_ref(), if durable { stemedb_ebpf::DURABLE } else { 0 });
}

/// The number of the system call that returns.
#[inline(always)]
fn number(regs: *const u8) -> u64 {
    // SAFETY: a typed argument of the tracepoint.
    #[cfg(bpf_target_arch = "x86_64")]
    unsafe {
        read::typed::<u64>(regs, offset!(regs_orig_ax))
    }
    // SAFETY: as above.
    #[cfg(bpf_target_arch = "aarch64")]
    unsafe {
        u64::from(read::typed::<u32>(regs, offset!(regs_syscallno)))
    }
}

/// Argument `n` of a system call, as the kernel's own entry code has saved it.
#[inline(always)]
fn argument(regs: *const u8, n: usize) -> u64 {
    #[cfg(bpf_target_arch = "x86_64")]
    let at = match n {
        0 => offset!(regs_di),
        2 => offset!(regs_dx),
        _ => offset!(regs_r9),
    };
    // x0 is overwritten by the result; the kernel keeps the first argument beside it.
    #[cfg(bpf_target_arch = "aarch64")]
    let at = if n == 0 { offset!(regs_orig_x0) } else { offset!(regs_regs) + 8 * n };
    // SAFETY: a typed argument of the tracepoint.
    unsafe { read::typed::<u64>(regs, at) }
}

/// Whether the current thread is in a 32-bit system call, whose number means something else.
#[inline(always)]
fn is_compat() -> bool {
    // arch/x86/include/asm/thread_info.h: TS_COMPAT
    #[cfg(bpf_target_arch = "x86_64")]
    // SAFETY: the current task is a typed pointer.
    unsafe {
        read::typed::<u32>(bpf_get_current_task_btf().cast(), offset!(task_status)) & 2 != 0
    }
    #[cfg(bpf_target_arch = "aarch64")]
    false
}

/// The file that is mapped at an address of the current process, and what to note about the look-up.
#[inline(always)]
fn mapped_file(address: u64) -> (Option<File>, u32) {
    if setting!(find_vma) == 0 {
        return (None, UNRESOLVED);
    }
    let mut file: Addr = 0;
    // SAFETY: the helper calls `vma_file` at once, with the pointer that is given here.
    let found = unsafe {
        bpf_find_vma(
            bpf_get_current_task_btf().cast(),
            address,
            vma_file as *mut core::ffi::c_void,
            (&raw mut file).cast(),
            0,
        )
    };
    match found {
        0 if file != 0 => File::at(file).map_or((None, UNRESOLVED), |file| (Some(file), 0)),
        // Anonymous memory, or nothing at all: there is no file to charge.
        0 | ENOENT => (None, 0),
        // The address space is being changed by another thread just now.
        _ => (None, UNRESOLVED),
    }
}

extern "C" fn vma_file(_task: u64, vma: u64, file: *mut Addr) -> i64 {
    if let Some(found) = read::at::<Addr>(vma, offset!(vma_file)) {
        // SAFETY: the caller's own variable.
        unsafe { *file = found }
    }
    0
}
