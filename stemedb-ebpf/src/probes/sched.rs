//! What threads in sync calls do: they leave a processor, may run again, and get one. While no sync call is in flight, one number is
//! looked at.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use stemedb_ebpf::InflightKey;

use crate::kernel::call;
use crate::kernel::maps::{offset, setting};
use crate::kernel::phases;
use crate::kernel::read::{self, Addr};
use crate::kernel::task;

/// `sched_switch(preempt, prev, next, prev_state)`; without the last one before 5.18.
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    if !phases::any() {
        return 0;
    }
    let blocked = ctx.arg::<u64>(0) as u8 == 0 && state(&ctx) != 0;
    let id = thread(ctx.arg(1));
    let mut out = phases::of(id);
    if out == 0 && blocked && phases::any_request() && learns_its_request() {
        out = phases::of(id);
    }
    if out != 0 {
        phases::switched_out(out, blocked, &ctx);
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

/// `folio_wait_writeback(folio, mapping)`: the thread is about to wait for a page of a file.
#[btf_tracepoint(function = "folio_wait_writeback")]
pub fn folio_wait_writeback(ctx: BtfTracePointContext) -> i32 {
    if phases::any() {
        let place = phases::of(u64::from(task::thread()));
        let mapping: *const u8 = ctx.arg(1);
        if place != 0 && !mapping.is_null() {
            // SAFETY: as above.
            let inode = unsafe { read::typed(mapping, offset!(mapping_host)) };
            phases::waits_for_pages(place, inode, ctx.arg(0));
        }
    }
    0
}

/// Whether the current thread is a worker of io_uring, and it is known from here on which request it carries out: the first time that
/// it waits for something. What it has done before is not known (`other`).
#[inline(always)]
fn learns_its_request() -> bool {
    if setting!(workers) == 0 || !task::is_io_worker() {
        return false;
    }
    request_of_worker(task::current() as Addr).is_some_and(|request| match call::in_flight(request) {
        Some(call) => {
            phases::carry_out(call);
            true
        }
        None => false,
    })
}

/// The request that a worker carries out: `task->worker_private->cur_work`, which is part of it (io_uring/io-wq.c).
#[inline(always)]
fn request_of_worker(task: Addr) -> Option<InflightKey> {
    let worker: Addr = read::at(task, offset!(task_worker))?;
    let work: Addr = read::at(worker, offset!(worker_work))?;
    (work != 0).then(|| InflightKey::request(work - offset!(req_work) as u64))
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
