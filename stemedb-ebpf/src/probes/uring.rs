//! io_uring, by the tracepoints at which a request is submitted and completed: they are the same for requests that are
//! carried out at once, by a worker or by the polling thread.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use stemedb_ebpf::ops::{NO_OP, Op};
use stemedb_ebpf::{Lost, RESULT_IS_ARGUMENT};

use crate::kernel::call::{self, Begin, rwf};
use crate::kernel::file::{self, Descriptor};
use crate::kernel::maps::{lost, offset, offsets, op_of_uring, setting, volatile};
use crate::kernel::read::{self, Addr};
use crate::kernel::task;

/// `REQ_F_FIXED_FILE` and `REQ_F_CQE_SKIP`: the first flags of a request are those of its submission entry
/// (`enum io_uring_sqe_flags_bit`, include/uapi/linux/io_uring.h).
const FIXED_FILE: u32 = 1;
const CQE_SKIP: u32 = 1 << 6;
/// `IORING_FSYNC_DATASYNC`
const DATASYNC: u32 = 1;
/// The lowest bits of a registered file's address are flags (`FFS_MASK`).
const FILE_MASK: u64 = !3;

/// `io_uring_submit_req(req)`; until 6.3 `io_uring_submit_sqe(req, force_nonblock)`. The polling thread belongs to the
/// process that made the ring.
#[btf_tracepoint(function = "uring_submit")]
pub fn uring_submit(ctx: BtfTracePointContext) -> i32 {
    begin(ctx.arg(0), None);
    0
}

/// `io_uring_req_failed(sqe, req, error)`: the kernel refuses it as it reads it; its completion follows.
#[btf_tracepoint(function = "io_uring_req_failed")]
pub fn io_uring_req_failed(ctx: BtfTracePointContext) -> i32 {
    begin(ctx.arg(1), Some(ctx.arg(0)));
    0
}

/// Begins a request. One that was refused may not hold yet what its submission entry asks for.
#[inline(always)]
fn begin(req: *const u8, refused: Option<*const u8>) {
    let Some(thread) = task::watched() else { return };
    // SAFETY: a typed argument of the tracepoint.
    let (opcode, flags) =
        unsafe { (read::typed::<u8>(req, offset!(req_opcode)), read::typed::<u32>(req, offset!(req_flags))) };
    let mut op = op_of_uring(opcode);
    if op == NO_OP {
        return;
    }
    let Ok(file) = file::of_interest(file_of(req, flags), op) else { return };
    if flags & CQE_SKIP != 0 {
        lost(Lost::UringSkip);
        return;
    }
    let mut what = Begin { op, thread: thread.thread, target: thread.target, flags: 0, is_request: true };
    if op == Op::UringFsync as u8 {
        // SAFETY: as above; the operation's own structure is the first member.
        let flags = unsafe {
            match refused {
                None => read::typed::<u32>(req, offset!(sync_flags)),
                Some(entry) => read::typed::<u32>(entry, offset!(sqe_fsync_flags)),
            }
        };
        if flags & DATASYNC != 0 {
            op = Op::UringFdatasync as u8;
        }
        what.op = op;
    } else if refused.is_none() && has_rwf(op) {
        // SAFETY: as above.
        what.flags = rwf(unsafe { read::typed::<u32>(req, offset!(rw_flags)) });
    }
    call::begin(call::request(req as u64), what, &file);
}

/// `io_uring_complete(ctx, req, cqe)`; until 6.13 `(ctx, req, user_data, res, ...)`.
#[btf_tracepoint(function = "uring_complete")]
pub fn uring_complete(ctx: BtfTracePointContext) -> i32 {
    let result = if setting!(uring_result) == RESULT_IS_ARGUMENT {
        ctx.arg::<i32>(3)
    } else {
        // SAFETY: a typed argument of the tracepoint.
        unsafe { read::typed::<i32>(ctx.arg(2), offset!(cqe_res)) }
    };
    call::end(call::request(ctx.arg::<u64>(1)), i64::from(result));
    0
}

/// Whether a request carries `RWF_` flags.
#[inline(always)]
fn has_rwf(op: u8) -> bool {
    (Op::UringWrite as u8..=Op::UringWritevFixed as u8).contains(&op)
}

/// The file of a request, which is looked up by number only when it is carried out: a descriptor of the process, or an
/// index of the ring's registered files.
#[inline(always)]
fn file_of(req: *const u8, flags: u32) -> Descriptor {
    // SAFETY: a typed argument of the tracepoint.
    let number = unsafe { read::typed::<u32>(req, offset!(req_fd)) };
    if flags & FIXED_FILE == 0 {
        return file::descriptor(task::current(), number);
    }
    // SAFETY: as above.
    let ring: Addr = unsafe { read::typed(req, offset!(req_ctx)) };
    match read::at::<u32>(ring, offset!(uring_files_nr)) {
        Some(count) if number < count => {}
        Some(_) => return Descriptor::Closed,
        None => return Descriptor::Unreadable,
    }
    file::behind(registered(ring, number).map(|file| file & FILE_MASK))
}

/// A registered file: the table holds resource nodes (from 6.13 on) or the files themselves.
#[inline(always)]
fn registered(ring: Addr, index: u32) -> Option<Addr> {
    let table: Addr = read::at(ring, offset!(uring_files))?;
    let entry = read::at::<Addr>(table, index as usize * 8);
    if volatile(&offsets().node_file) == stemedb_ebpf::offsets::ABSENT {
        return entry;
    }
    match entry? {
        0 => Some(0),
        node => read::at(node, offset!(node_file)),
    }
}
