//! Block I/O of devices that take no requests, but bios: those of device-mapper, md, zram. What they send to the disks below is
//! counted there once more, by its requests.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use stemedb_ebpf::disk::{ASKED_FLUSH, DiskOp, DiskRequest, ISSUED};
use stemedb_ebpf::phases::part;

use crate::kernel::charge;
use crate::kernel::disk::{
    add_counts, become_part, begun, count_error, end, end_at_device, forget, join, key_of, known, now, remember,
};
use crate::kernel::maps::offset;
use crate::kernel::read;
use crate::kernel::request::{Bio, asked, op_of};

/// `block_bio_queue(bio)`, in the thread that submits.
#[btf_tracepoint(function = "block_bio_queue")]
pub fn block_bio_queue(ctx: BtfTracePointContext) -> i32 {
    let bio: *const u8 = ctx.arg(0);
    // SAFETY: a typed argument of the tracepoint, and what is loaded from it; a fault reads as zero.
    let (flags, dev) = unsafe {
        let device: *const u8 = read::typed(bio, offset!(bio_device));
        let disk: *const u8 = read::typed(device, offset!(bdev_disk));
        let operations: *const u8 = read::typed(disk, offset!(disk_fops));
        if operations.is_null() || read::typed::<u64>(operations, offset!(fops_submit)) == 0 {
            return 0;
        }
        (read::typed::<u32>(bio, offset!(bio_flags)), read::typed::<u32>(device, offset!(bdev_dev)))
    };
    let Some(op) = op_of(flags) else { return 0 };
    // SAFETY: as above.
    let bio = unsafe { Bio::new(bio) };
    let charge = charge::of_submitted(bio, op, dev);
    let bytes = bio.bytes();
    // The flush before its data cannot be told from these.
    let flags = asked(flags) & if bytes == 0 { !0 } else { !ASKED_FLUSH };
    let mut request = DiskRequest { issue_ns: now(), bytes, ..begun(op, dev, &charge, flags | ISSUED) };
    join(&mut request, &charge, bytes == 0, true);
    remember(bio.address(), &mut request);
    0
}

/// `block_bio_complete(q, bio)`
#[btf_tracepoint(function = "block_bio_complete")]
pub fn block_bio_complete(ctx: BtfTracePointContext) -> i32 {
    let address: u64 = ctx.arg(1);
    let Some(request) = known(address) else { return 0 };
    // SAFETY: as above.
    let (flags, status) = unsafe {
        let bio: *const u8 = ctx.arg(1);
        (read::typed::<u32>(bio, offset!(bio_flags)), read::typed::<u8>(bio, offset!(bio_status)))
    };
    let Some(op) = op_of(flags) else { return 0 };
    let key = key_of(request.dev, op, request.target, request.class, request.origin);
    add_counts(&key, 1, u64::from(request.bytes));
    if status != 0 {
        count_error(&key, if request.bytes == 0 { DiskOp::Flush } else { op }, i16::from(status));
    }
    // It has no time in a queue; but from its begin it has waited for the flush that it is, if it is one.
    let start_ns = request.issue_ns;
    end_at_device(request, op);
    request.start_ns = start_ns;
    end(request, op);
    become_part(request, part::NONE);
    forget(request);
    0
}
