//! The end of the program runs that have begun.

use std::thread;
use std::time::Duration;

/// `MEMBARRIER_CMD_GLOBAL` (include/uapi/linux/membarrier.h): the kernel answers by `synchronize_rcu` (kernel/sched/membarrier.c),
/// and every run of a program is within a read-side section of RCU (`__bpf_prog_enter_recur`, `__bpf_trace_run`).
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// What a kernel with processors that have no tick (`nohz_full`) waits instead, which refuses the call. A run takes microseconds.
const INSTEAD: Duration = Duration::from_millis(20);

/// Waits until every run of a program that has begun is over, so that no run sees a part of what was before and a part of what is
/// after.
pub fn wait() {
    // SAFETY: the call reads no memory of ours.
    if unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } != 0 {
        thread::sleep(INSTEAD);
    }
}
