//! What threads in sync calls do: they leave a processor, may run again, and get one. While no sync call is in flight, one number is
//! looked at.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::kernel::maps::{offset, setting};
use crate::kernel::phases;
use crate::kernel::read;

/// `sched_switch(preempt, prev, next, prev_state)`; without the last one before 5.18.
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    if !phases::any() {
        return 0;
    }
    let out = phases::of(thread(ctx.arg(1)));
    if out != 0 {
        let preempted = ctx.arg::<u64>(0) as u8 != 0;
        phases::switched_out(out, !preempted && state(&ctx) != 0, &ctx);
    }
    phases::switched_in(phases::of(thread(ctx.arg(2))));
    0
}

/// `sched_wakeup(task)`: it is on a run queue.
#[btf_tracepoint(function = "sched_wakeup")]
pub fn sched_wakeup(ctx: BtfTracePointContext) -> i32 {
    if phases::any() {
        phases::woken(phases::of(thread(ctx.arg(0))));
    }
    0
}

#[inline(always)]
fn thread(task: *const u8) -> u64 {
    // SAFETY: a typed argument of the tracepoint.
    u64::from(unsafe { read::typed::<u32>(task, offset!(task_pid)) })
}

/// Not zero when the thread that leaves is not runnable.
#[inline(always)]
fn state(ctx: &BtfTracePointContext) -> u32 {
    if setting!(switch_state) != 0 {
        return ctx.arg(3);
    }
    // SAFETY: as above.
    unsafe { read::typed(ctx.arg(1), offset!(task_state)) }
}
