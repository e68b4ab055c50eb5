//! Stores through a shared mapping make no call. What can be seen is the page that they make dirty, at the fault that the
//! first store to a clean page takes, whoever writes it to the disk later.

use aya_ebpf::helpers::generated::bpf_task_pt_regs;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use stemedb_ebpf::{CLASS_OTHER, Lost};

use crate::kernel::class;
use crate::kernel::disk::now;
use crate::kernel::file::File;
use crate::kernel::files;
use crate::kernel::maps::{MAPPED_STATS, lost, offset, setting};
use crate::kernel::read::{self, Addr};
use crate::kernel::task;

/// `writeback_dirty_folio(folio, mapping)`: a clean folio becomes dirty.
#[btf_tracepoint(function = "writeback_dirty_folio")]
pub fn writeback_dirty_folio(ctx: BtfTracePointContext) -> i32 {
    let Some(thread) = task::watched() else { return 0 };
    let (folio, mapping): (*const u8, *const u8) = (ctx.arg(0), ctx.arg(1));
    if mapping.is_null() || !is_store_fault() {
        return 0;
    }
    // SAFETY: typed arguments of the tracepoint.
    let (host, pages) = unsafe { (read::typed::<Addr>(mapping, offset!(mapping_host)), pages_of(folio)) };
    let Some(file) = File::of_inode(read::number(host)) else { return 0 };
    let class = if file.dentry == 0 {
        lost(Lost::MappedFile);
        CLASS_OTHER
    } else {
        class::of(&file, thread.target)
    };
    files::touch(files::note(file.inode, thread.target, class), now());
    if let Some(stats) = MAPPED_STATS.get_ptr_mut(thread.target * setting!(classes) + class) {
        // SAFETY: this processor's own value.
        let stats = unsafe { &mut *stats };
        stats.folios += 1;
        stats.bytes += pages << setting!(page_shift);
    }
    0
}

/// Whether the current thread has come into the kernel by a fault of its own, and not by a system call. Then there is -1 in
/// the place of the system call's number (arch/x86/entry/entry_64.S, `idtentry_body`; `NO_SYSCALL` on arm64), and what
/// makes a page dirty is a store. A worker of io_uring has the registers that the thread had which made it, and makes no store.
#[inline(always)]
fn is_store_fault() -> bool {
    if task::is_io_worker() {
        return false;
    }
    // SAFETY: the current task is a typed pointer, and so are its registers.
    let number = unsafe {
        let regs: *const u8 = bpf_task_pt_regs(task::current().cast_mut().cast()) as *const u8;
        task::syscall_number(regs)
    };
    number as u32 == u32::MAX
}

/// Pages of a folio.
///
/// # Safety
/// As for [`read::typed`].
#[inline(always)]
unsafe fn pages_of(folio: *const u8) -> u64 {
    // SAFETY: see above.
    unsafe {
        if read::typed::<u64>(folio, offset!(folio_flags)) >> setting!(folio_head_bit) & 1 == 0 {
            return 1;
        }
        u64::from(read::typed::<u32>(folio, offset!(folio_pages)))
    }
}
