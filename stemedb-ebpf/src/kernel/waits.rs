//! On which file systems sync calls of targets are in flight: a journal's I/O is charged to who waits for it.

use stemedb_ebpf::disk::{MAX_WAITS, NO_TARGET, WAIT_PROBES, Waits, wait_word};
use stemedb_ebpf::slots::{chosen, is_set};
use stemedb_ebpf::tables::bucket_of;
use stemedb_ebpf::{Inflight, Lost, MAX_TARGETS};

use super::atomic;
use super::maps::{WAITS, lost, offset, setting};
use super::read::{self, Addr};

/// Device of the superblock of an inode, in the kernel's own encoding.
#[inline(always)]
pub fn device_of(inode: Addr) -> Option<u32> {
    let sb: Addr = read::at(inode, offset!(inode_sb))?;
    read::at(sb, offset!(sb_dev))
}

/// A call that makes a file durable begins.
#[inline(always)]
pub fn begin(call: &mut Inflight) {
    if call.dev == 0 {
        return;
    }
    call.waits = waits_of(u64::from(call.dev)) as u32;
    match count(call) {
        // SAFETY: an atomic on a map value.
        Some(count) => unsafe { atomic::add(count, 1) },
        None => lost(Lost::WaitsFull),
    }
}

/// It ends, or is forgotten.
#[inline(always)]
pub fn end(call: &Inflight) {
    let Some(count) = count(call) else { return };
    // SAFETY: an atomic on a map value. The agent takes away counts that no call stands behind, and then this begins anew.
    unsafe {
        if count.read_volatile() != 0 {
            atomic::add(count, u64::MAX);
        }
    }
}

/// Where a call is counted, if it is.
#[inline(always)]
fn count(call: &Inflight) -> Option<*mut u64> {
    if call.waits == 0 {
        return None;
    }
    let waits = WAITS.get_ptr_mut(call.waits - 1)?;
    // SAFETY: in bounds by the mask.
    Some(unsafe { &raw mut (*waits).counts[call.target as usize & (MAX_TARGETS - 1)] })
}

#[inline(always)]
fn place(dev: u32, probe: u32) -> u32 {
    (bucket_of(dev, MAX_WAITS) + probe) & (MAX_WAITS - 1)
}

/// The place of a file system, from 1 on, for good; 0 where there is no room.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once, and not anew for every way that leads
/// to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn waits_of(dev: u64) -> u64 {
    let word = wait_word(dev as u32);
    for probe in 0..WAIT_PROBES {
        let place = place(dev as u32, probe);
        let Some(waits) = WAITS.get_ptr_mut(place) else { return 0 };
        // SAFETY: a number that is read at once, and an atomic on a map value. Who changes it from zero has the place, and what was
        // there otherwise may be what is looked for.
        unsafe {
            let id = &raw mut (*waits).dev;
            let mut was = id.read_volatile();
            if was == 0 {
                was = atomic::set_if_zero(id, word);
            }
            if was == 0 || was == word {
                return u64::from(place) + 1;
            }
        }
    }
    0
}

/// The one target that waits on a file system; [`NO_TARGET`] where none does, and where several do.
#[inline(always)]
pub fn who(dev: u32) -> u32 {
    for probe in 0..WAIT_PROBES {
        let Some(waits) = WAITS.get_ptr(place(dev, probe)) else { break };
        // SAFETY: a number that is read at once.
        let word = unsafe { (&raw const (*waits).dev).read_volatile() };
        if word == 0 {
            break;
        }
        if word == wait_word(dev) {
            return only_one(waits);
        }
    }
    NO_TARGET
}

#[inline(always)]
fn only_one(waits: *const Waits) -> u32 {
    let (mut found, mut several) = (u64::from(NO_TARGET), 0);
    for target in 0..MAX_TARGETS as u32 {
        if target >= setting!(targets) {
            break;
        }
        // SAFETY: in bounds; a number that is read at once.
        let waits = is_set(unsafe { (&raw const (*waits).counts[target as usize]).read_volatile() });
        // Without branches, each of which is two ways for the verifier.
        several |= waits & (is_set(found ^ u64::from(NO_TARGET)));
        found = chosen(waits, target.into(), found);
    }
    if several != 0 { NO_TARGET } else { found as u32 }
}
