//! Block I/O: each request from the moment at which it enters the block layer, through the driver, to its end. All I/O of the
//! machine is counted, so that what is charged to nobody is known, too.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use stemedb_ebpf::disk::{DiskKey, DiskOp, DiskRequest, ISSUED, MAX_BIOS, NO_TARGET, Origin, PARTIAL};
use stemedb_ebpf::phases::part;
use stemedb_ebpf::{CLASS_OTHER, Lost};

use crate::kernel::charge::{self, Charge};
use crate::kernel::disk::{
    add_counts, at_device, become_part, begun, count_error, end, end_at_device, failed, forget, join, key_of, known,
    missed, now, remember,
};
use crate::kernel::maps::{lost, setting};
use crate::kernel::read::Addr;
use crate::kernel::request::{Bio, Request, asked, op_of};

/// Bios that may have been merged in front of the one that a request was made for.
const MAX_IN_FRONT: usize = 16;

/// `block_io_start(rq)` (from 6.5), in the thread that submits.
#[btf_tracepoint(function = "block_io_start")]
pub fn block_io_start(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a typed argument of the tracepoint.
    let rq = unsafe { Request::new(ctx.arg(0)) };
    start(rq.address(), rq.bio(), rq.flags(), rq.device());
    0
}

/// `block_getrq(bio)`, in the thread that submits: a request is made for this bio, and nothing tells which, until it is issued.
#[btf_tracepoint(function = "block_getrq")]
pub fn block_getrq(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: as above.
    let bio = unsafe { Bio::new(ctx.arg(0)) };
    start(bio.address(), bio, bio.flags(), bio.device());
    0
}

#[inline(always)]
fn start(address: Addr, bio: Bio, flags: u32, dev: u32) {
    let Some(op) = op_of(flags) else { return };
    let charge = charge::of_submitted(bio, op, dev);
    let mut request = DiskRequest { start_ns: now(), ..begun(op, dev, &charge, asked(flags)) };
    join(&mut request, &charge, bio.bytes() == 0, false);
    remember(address, &mut request);
}

/// What is kept of a request. Where its begin was told of its bio only, it is the request's from here on.
#[inline(always)]
fn of(rq: Request) -> Option<&'static mut DiskRequest> {
    if let Some(request) = known(rq.address()) {
        return Some(request);
    }
    if setting!(requests_start) != 0 {
        return None;
    }
    let mut bio = rq.first_bio();
    // Others may have been merged in front of it.
    for _ in 0..MAX_IN_FRONT {
        if !bio.is_there() {
            break;
        }
        // One for a device without requests has been issued at once.
        if let Some(begun) = known(bio.address())
            && begun.flags & ISSUED == 0
        {
            let mut request = *begun;
            forget(begun);
            remember(rq.address(), &mut request);
            return known(rq.address());
        }
        bio = bio.next();
    }
    None
}

/// `block_rq_issue(rq)`: the driver gets it.
#[btf_tracepoint(function = "block_rq_issue")]
pub fn block_rq_issue(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: as above.
    let rq = unsafe { Request::new(ctx.arg(0)) };
    let Some(op) = rq.op() else { return 0 };
    let now = now();
    if let Some(request) = of(rq) {
        if request.issue_ns == 0 {
            request.issue_ns = now;
            request.flags |= ISSUED;
            become_part(request, at_device(request));
            return 0;
        }
        // The driver has not given it back: it has ended unseen, and this one begins without being told of.
        missed(request.place);
        forget(request);
    }
    // A flush that the block layer sends has no begin; others have begun before the agent.
    let origin = if matches!(op, DiskOp::Flush) { Origin::Direct } else { Origin::Unknown };
    let charge = Charge { origin, ..charge::UNKNOWN };
    let flags = if matches!(op, DiskOp::Flush) { 0 } else { asked(rq.flags()) };
    remember(rq.address(), &mut DiskRequest { issue_ns: now, ..begun(op, rq.device(), &charge, flags | ISSUED) });
    0
}

/// `block_rq_requeue(rq)`: the driver gives it back, for later.
#[btf_tracepoint(function = "block_rq_requeue")]
pub fn block_rq_requeue(ctx: BtfTracePointContext) -> i32 {
    if let Some(request) = known(ctx.arg::<u64>(0)) {
        request.issue_ns = 0;
        if request.part == part::DEVICE {
            become_part(request, part::QUEUE);
        }
    }
    0
}

/// `block_rq_merge(rq)`: its bios go on in another request.
#[btf_tracepoint(function = "block_rq_merge")]
pub fn block_rq_merge(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: as above.
    let rq = unsafe { Request::new(ctx.arg(0)) };
    if let Some(request) = of(rq) {
        become_part(request, part::NONE);
        forget(request);
    }
    0
}

/// `block_rq_complete(rq, error, bytes)`: some of its bytes, or all that were left, are done.
#[btf_tracepoint(function = "block_rq_complete")]
pub fn block_rq_complete(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: as above.
    let rq = unsafe { Request::new(ctx.arg(0)) };
    let (status, bytes) = (status_of(ctx.arg::<u64>(1)), ctx.arg::<u32>(2));
    let Some(op) = rq.op() else { return 0 };
    let is_done = bytes >= rq.bytes();
    let is_step = rq.is_step() && !matches!(op, DiskOp::Flush);
    let ios = u64::from(is_done && !is_step);
    let Some(request) = of(rq) else {
        // It has begun before the agent, or there was no room for it.
        let key = key_of(rq.device(), op, NO_TARGET, CLASS_OTHER, Origin::Unknown as u8);
        add_counts(&key, ios, u64::from(bytes));
        if status != 0 && (bytes != 0 || matches!(op, DiskOp::Flush)) {
            count_error(&key, op, status);
        }
        return 0;
    };
    let first =
        First { inode: request.inode, key: key_of(request.dev, op, request.target, request.class, request.origin) };
    count(rq, &first, ios, bytes, request.flags & PARTIAL != 0);
    if !is_done {
        request.flags |= PARTIAL;
    }
    if status != 0 {
        failed(request, &first.key, op, bytes, status);
    }
    if is_done {
        end_at_device(request, op);
        if is_step {
            // Another flush may follow its data, where the device has no FUA.
            become_part(request, part::FLUSH);
        } else {
            end(request, op);
            become_part(request, part::NONE);
            forget(request);
        }
    }
    0
}

/// Counts what is done: the request as its first part, the bytes of each part as its own.
#[inline(always)]
fn count(rq: Request, first: &First, ios: u64, bytes: u32, is_rest: bool) {
    let mut left = u64::from(bytes);
    let is_data = first.key.op == DiskOp::Read as u16 || first.key.op == DiskOp::Write as u16;
    if left != 0 && is_data && (is_rest || rq.is_merged()) {
        let mut bio = rq.first_bio();
        for _ in 0..MAX_BIOS {
            if !bio.is_there() || left == 0 {
                break;
            }
            left -= count_merged_bio(bio.address(), left, core::ptr::from_ref(first));
            bio = bio.next();
        }
        if left != 0 {
            lost(Lost::MergedBios);
        }
    }
    add_counts(&first.key, ios, left);
}

/// How the first part of a request is counted.
#[repr(C)]
pub struct First {
    inode: u64,
    key: DiskKey,
}

/// Counts a bio of a request that has several, of whose bytes no more than `left` are done; returns how many are.
///
/// A global function of the object: the verifier looks at it once, and not anew for every bio.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_merged_bio(bio: u64, left: u64, first: *const First) -> u64 {
    // SAFETY: the verifier has it checked that a pointer is not null, and knows how much is behind it.
    let Some(First { inode, key }) = (unsafe { first.as_ref() }) else { return left };
    let bio = Bio::at(bio);
    let bytes = u64::from(bio.bytes()).min(left);
    let merged = charge::of_merged(bio, *inode, key);
    add_counts(&merged, 0, bytes);
    bytes
}

/// `blk_status_t`; before 5.16 a negative errno.
#[inline(always)]
fn status_of(argument: u64) -> i16 {
    if setting!(status_is_errno) != 0 { argument as i32 as i16 } else { i16::from(argument as u8) }
}
