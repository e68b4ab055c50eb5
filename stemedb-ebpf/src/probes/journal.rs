//! Journals: the buffer of a superblock is known from the moment at which a thread is about to write it, to that at which it does.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::kernel::maps::{JOURNALS, offset};
use crate::kernel::read::{self, Addr};
use crate::kernel::task;

/// `jbd2_write_superblock(journal, flags)`: before it is submitted, by the same thread.
#[btf_tracepoint(function = "jbd2_write_superblock")]
pub fn jbd2_write_superblock(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a typed argument of the tracepoint.
    let buffer: Addr = unsafe { read::typed(ctx.arg(0), offset!(journal_sb)) };
    let _ = JOURNALS.insert(&task::thread(), &buffer, 0);
    0
}
