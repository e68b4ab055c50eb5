//! The thread that runs, and the system call that it is in.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf};
use stemedb_ebpf::disk::NO_TARGET;
use stemedb_ebpf::tables::process_entry;

use super::maps::{offset, setting};
use super::read;
use super::targets;

/// A thread of a target.
#[derive(Clone, Copy)]
pub struct Watched {
    /// Its `struct task_struct`.
    pub task: *const u8,
    /// Process id and thread id, as `bpf_get_current_pid_tgid` has them.
    pub thread: u64,
    /// Index of the target.
    pub target: u32,
}

/// The id of the current thread.
#[inline(always)]
pub fn thread() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// The current thread, if its process is watched.
#[inline(always)]
pub fn watched() -> Option<Watched> {
    let task = current();
    let process = process(task);
    match targets::word(process) {
        0 => None,
        word => {
            let thread = u64::from(process) << 32 | u64::from(id(task));
            Some(Watched { task, thread, target: process_entry(word).target })
        }
    }
}

/// The target of the current thread, whose structure this is; [`NO_TARGET`] if its process is not watched.
#[inline(always)]
pub fn target(task: *const u8) -> u32 {
    match targets::word(process(task)) {
        0 => NO_TARGET,
        word => process_entry(word).target,
    }
}

/// The id of the current thread by its structure. A helper would tell, too: one call more, where returning from it is what it costs.
#[inline(always)]
fn id(task: *const u8) -> u32 {
    if setting!(typed) == 0 {
        return thread();
    }
    // SAFETY: the current task is a typed pointer.
    unsafe { read::typed(task, offset!(task_pid)) }
}

#[inline(always)]
fn process(task: *const u8) -> u32 {
    if setting!(typed) == 0 {
        return (bpf_get_current_pid_tgid() >> 32) as u32;
    }
    // SAFETY: as above.
    unsafe { read::typed(task, offset!(task_tgid)) }
}

/// `struct task_struct` of the current thread.
#[inline(always)]
pub fn current() -> *const u8 {
    // SAFETY: the helpers have no precondition. The second is for kernels without BTF, which refuse the first.
    unsafe {
        if setting!(typed) != 0 { bpf_get_current_task_btf().cast() } else { bpf_get_current_task() as *const u8 }
    }
}

/// Whether the current thread is one of the kernel's own (`PF_KTHREAD`, include/linux/sched.h).
#[inline(always)]
pub fn is_of_the_kernel(task: *const u8) -> bool {
    is_a(task, 0x0020_0000)
}

/// Whether the current thread works for io_uring (`PF_IO_WORKER`): it is one of its process and never runs its program.
#[inline(always)]
pub fn is_io_worker() -> bool {
    is_a(current(), 0x10)
}

#[inline(always)]
fn is_a(task: *const u8, kind: u32) -> bool {
    // SAFETY: the current task is a typed pointer.
    unsafe { read::typed::<u32>(task, offset!(task_kind)) & kind != 0 }
}

/// The number of the system call whose registers these are.
///
/// # Safety
/// As for [`read::typed`].
#[inline(always)]
pub unsafe fn syscall_number(regs: *const u8) -> u64 {
    #[cfg(bpf_target_arch = "x86_64")]
    // SAFETY: see above.
    unsafe {
        read::typed::<u64>(regs, offset!(regs_orig_ax))
    }
    #[cfg(bpf_target_arch = "aarch64")]
    // SAFETY: see above.
    unsafe {
        u64::from(read::typed::<u32>(regs, offset!(regs_syscallno)))
    }
}

/// Argument `n` of a system call, as the kernel's own entry code has saved it.
///
/// # Safety
/// As for [`read::typed`].
#[inline(always)]
pub unsafe fn syscall_argument(regs: *const u8, n: usize) -> u64 {
    #[cfg(bpf_target_arch = "x86_64")]
    let at = match n {
        0 => offset!(regs_di),
        2 => offset!(regs_dx),
        _ => offset!(regs_r9),
    };
    // x0 is overwritten by the result; the kernel keeps the first argument beside it.
    #[cfg(bpf_target_arch = "aarch64")]
    let at = if n == 0 { offset!(regs_orig_x0) } else { offset!(regs_regs) + 8 * n };
    // SAFETY: see above.
    unsafe { read::typed::<u64>(regs, at) }
}

/// Whether the current thread is in a 32-bit system call, whose number means something else.
#[inline(always)]
pub fn is_compat(task: *const u8) -> bool {
    // arch/x86/include/asm/thread_info.h: TS_COMPAT
    #[cfg(bpf_target_arch = "x86_64")]
    // SAFETY: the current task is a typed pointer.
    unsafe {
        read::typed::<u32>(task, offset!(task_status)) & 2 != 0
    }
    // arch/arm64/include/asm/thread_info.h: TIF_32BIT
    #[cfg(bpf_target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        read::typed::<u64>(task, offset!(task_flags)) & (1 << 22) != 0
    }
}
