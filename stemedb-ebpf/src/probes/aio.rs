//! libaio. Its requests pass no tracepoint; these are the kernel's own functions (fs/aio.c), of which none is ever inlined
//! where the type information names it. The structure of a request is at one address from its begin to its end.

use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};
use stemedb_ebpf::Lost;
use stemedb_ebpf::ops::Op;

use crate::kernel::call::{self, Begin, rwf};
use crate::kernel::file;
use crate::kernel::maps::{AIO_SYNCS, lost, offset};
use crate::kernel::phases;
use crate::kernel::read::{self, Addr};
use crate::kernel::task;

/// `aio_write(req, iocb, vectored, compat)`
#[fentry]
pub fn aio_write_enter(ctx: FEntryContext) -> i32 {
    let (req, iocb): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    let op = if ctx.arg::<u64>(2) & 1 != 0 { Op::AioPwritev } else { Op::AioPwrite };
    // SAFETY: typed arguments of the function.
    let (file, flags) =
        unsafe { (read::typed::<Addr>(req, offset!(kiocb_file)), read::typed::<u32>(iocb, offset!(iocb_rw_flags))) };
    begin(req as Addr, op, file, rwf(flags));
    0
}

/// Its result follows four arguments: 0 when the request is on its way or has ended already, else it never began.
#[fexit]
pub fn aio_write_exit(ctx: FExitContext) -> i32 {
    let result = ctx.arg::<i32>(4);
    if result != 0 {
        call::end(call::request(ctx.arg::<u64>(0)), i64::from(result));
    }
    0
}

/// `aio_complete_rw(kiocb, res)`: called for every write that has begun, wherever it ends.
#[fentry]
pub fn aio_complete(ctx: FEntryContext) -> i32 {
    call::end(call::request(ctx.arg::<u64>(0)), ctx.arg::<i64>(1));
    0
}

/// `aio_fsync(req, iocb, datasync)`
#[fentry]
pub fn aio_fsync_enter(ctx: FEntryContext) -> i32 {
    let req: *const u8 = ctx.arg(0);
    let op = if ctx.arg::<u64>(2) & 1 != 0 { Op::AioFdsync } else { Op::AioFsync };
    // SAFETY: a typed argument of the function.
    let file = unsafe { read::typed::<Addr>(req, offset!(aio_fsync_file)) };
    begin(req as Addr, op, file, 0);
    0
}

/// Its result follows three arguments.
#[fexit]
pub fn aio_fsync_exit(ctx: FExitContext) -> i32 {
    let result = ctx.arg::<i32>(3);
    if result != 0 {
        call::end(call::request(ctx.arg::<u64>(0)), i64::from(result));
    }
    0
}

/// `aio_fsync_work(work)`: a kernel thread carries it out. The request may be gone when this function returns, so the result
/// is taken from the call inside it.
#[fentry]
pub fn aio_fsync_work(ctx: FEntryContext) -> i32 {
    let req = ctx.arg::<u64>(0) - offset!(aio_fsync_work) as u64;
    let Some(request) = call::in_flight(call::request(req)) else { return 0 };
    phases::carry_out(request);
    if AIO_SYNCS.insert(&task::thread(), &req, 0).is_err() {
        lost(Lost::InflightFull);
    }
    0
}

/// `vfs_fsync(file, datasync)`; its result follows two arguments.
#[fexit]
pub fn aio_fsync_done(ctx: FExitContext) -> i32 {
    let tid = task::thread();
    // SAFETY: the entry is copied at once, and is this thread's own.
    let Some(req) = (unsafe { AIO_SYNCS.get(tid) }).copied() else { return 0 };
    call::end(call::request(req), i64::from(ctx.arg::<i32>(2)));
    let _ = AIO_SYNCS.remove(&tid);
    0
}

#[inline(always)]
fn begin(req: Addr, op: Op, file: Addr, flags: u32) {
    let Some(thread) = task::watched() else { return };
    let Ok(file) = file::of_interest(file::behind(Some(file)), op as u8) else { return };
    call::begin(
        call::request(req),
        Begin { op: op as u8, thread: thread.thread, target: thread.target, flags, is_request: true },
        &file,
    );
}
