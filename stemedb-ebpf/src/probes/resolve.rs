//! Asks the kernel about one of the agent's own open files. Never attached: the agent runs it by
//! `BPF_PROG_TEST_RUN`, hence in its own context, with the file descriptor as the only argument. That gives the address
//! of a directory's inode, and proves the offsets: what comes back must be what `fstat` says.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use stemedb_ebpf::Resolved;

use crate::kernel::file::{self, Descriptor};
use crate::kernel::maps::{RESOLVED, offset};
use crate::kernel::read;
use crate::kernel::task;

#[raw_tracepoint]
pub fn resolve(ctx: RawTracePointContext) -> i32 {
    let Descriptor::Open(file) = file::descriptor(task::current(), ctx.arg::<u64>(0) as u32) else { return -1 };
    let answer = answer(&file).unwrap_or_default();
    let Some(slot) = RESOLVED.get_ptr_mut(0) else { return -1 };
    // SAFETY: the agent runs this program one at a time.
    unsafe { *slot = answer };
    0
}

#[inline(always)]
fn answer(file: &file::File) -> Option<Resolved> {
    let sb = read::at(file.inode, offset!(inode_sb))?;
    // SAFETY: the current task is a typed pointer.
    let tgid = unsafe { read::typed(task::current(), offset!(task_tgid)) };
    Some(Resolved {
        inode: file.inode,
        ino: read::at(file.inode, offset!(inode_ino))?,
        dev: read::at(sb, offset!(sb_dev))?,
        mode: file.mode,
        tgid,
        generation: read::at(file.inode, offset!(inode_generation))?,
    })
}
