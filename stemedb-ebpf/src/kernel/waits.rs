//! On which file systems sync calls of targets are in flight: a journal's I/O is charged to who waits for it.

use stemedb_ebpf::disk::{NO_TARGET, WaitKey};
use stemedb_ebpf::{Inflight, Lost, MAX_TARGETS, WAITS as AMONG};

use super::atomic;
use super::maps::{WAITS, lost, offset, setting, shared};
use super::read::{self, Addr};

/// Device of the superblock of an inode, in the kernel's own encoding.
#[inline(always)]
pub fn device_of(inode: Addr) -> Option<u32> {
    let sb: Addr = read::at(inode, offset!(inode_sb))?;
    read::at(sb, offset!(sb_dev))
}

/// A call that makes a file durable begins.
#[inline(always)]
pub fn begin(call: &mut Inflight, target: u32) {
    if call.dev == 0 {
        return;
    }
    let key = WaitKey { dev: call.dev, target };
    match shared(&WAITS, &key) {
        Some(count) => {
            // SAFETY: an atomic on a map value.
            unsafe { atomic::add(count, 1) }
            call.flags |= AMONG;
        }
        None => lost(Lost::WaitsFull),
    }
}

/// It ends, or is forgotten.
#[inline(always)]
pub fn end(call: &Inflight) {
    if call.flags & AMONG == 0 {
        return;
    }
    if let Some(count) = WAITS.get_ptr_mut(&WaitKey { dev: call.dev, target: call.file.target }) {
        // SAFETY: an atomic on a map value. The agent takes away counts that no call stands behind, and then this begins anew.
        unsafe {
            if count.read_volatile() != 0 {
                atomic::add(count, u64::MAX);
            }
        }
    }
}

/// The one target that waits on a file system; [`NO_TARGET`] where none does, and where several do.
#[inline(always)]
pub fn who(dev: u32) -> u32 {
    let mut found = NO_TARGET;
    for target in 0..MAX_TARGETS as u32 {
        if target >= setting!(targets) {
            break;
        }
        // SAFETY: a number that is read at once.
        let waits = unsafe { WAITS.get(&WaitKey { dev, target }) }.is_some_and(|count| *count != 0);
        if waits {
            if found != NO_TARGET {
                return NO_TARGET;
            }
            found = target;
        }
    }
    found
}
