//! Errors of writing back pages, at the moment at which the kernel records one against a file: before any system call tells.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use stemedb_ebpf::Lost;
use stemedb_ebpf::disk::FileErrorKey;

use crate::kernel::files;
use crate::kernel::maps::{FILE_ERRORS, count, offset};
use crate::kernel::read::{self, Addr};

/// `filemap_set_wb_err(mapping, error)`
#[btf_tracepoint(function = "filemap_set_wb_err")]
pub fn filemap_set_wb_err(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a typed argument of the tracepoint.
    let host: Addr = unsafe { read::typed(ctx.arg(0), offset!(mapping_host)) };
    let Some(owner) = files::owner(read::number(host)) else { return 0 };
    let key = FileErrorKey { target: owner.target, class: owner.class };
    count(&FILE_ERRORS, &key, Lost::DisksFull);
    0
}
