//! Which processes are watched. The agent puts in those that ran before it, by the same atomic changes of the same memory.

use stemedb_ebpf::TargetEntry;
use stemedb_ebpf::tables::{PROCESS_WAYS, Processes, is_process, process_bucket, process_word};

use super::atomic;
use super::maps::TARGETS;

/// How often a change that another has come before is tried again.
const TRIES: usize = 4;

/// The word of a process; 0 if it is not watched. (The verifier refuses an `Option` whose payload is passed on unset.)
#[inline(always)]
pub fn word(tgid: u32) -> u64 {
    let Some(bucket) = TARGETS.get_ptr(process_bucket(tgid)) else { return 0 };
    // SAFETY: numbers of a map value that are read at once.
    unsafe {
        if (&raw const (*bucket).count).read_volatile() == 0 {
            return 0;
        }
        for way in 0..PROCESS_WAYS {
            let word = (&raw const (*bucket).words[way as usize]).read_volatile();
            if is_process(word, tgid) {
                return word;
            }
        }
    }
    0
}

/// Makes a process watched as this one, whatever it was; false where there is no room.
#[inline(always)]
pub fn set(tgid: u32, entry: TargetEntry) -> bool {
    targets_change(u64::from(tgid), process_word(tgid, entry)) != 0
}

/// Watches a process no more; whether it was.
#[inline(always)]
pub fn remove(tgid: u32) -> bool {
    targets_change(u64::from(tgid), 0) != 0
}

/// Changes the word of a process, or puts it in; 0 where that cannot be.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once, and not anew for every way that leads
/// to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn targets_change(tgid: u64, word: u64) -> u64 {
    let tgid = tgid as u32;
    let Some(bucket) = TARGETS.get_ptr_mut(process_bucket(tgid)) else { return 0 };
    for _ in 0..TRIES {
        if replaced(bucket, tgid, word) {
            return 1;
        }
        if word == 0 {
            return 0;
        }
        match taken(bucket, word) {
            PROCESS_WAYS => return 0,
            way if is_before(bucket, tgid, way) => {
                // Somebody has put it in at the same moment: that one is changed. Ours may have been changed meanwhile, too.
                exchange(bucket, way, word, 0);
            }
            _ => return 1,
        }
    }
    0
}

/// Changes a word, unless another has changed it; and the number of words, so that it is never too small.
#[inline(always)]
fn exchange(bucket: *mut Processes, way: u32, was: u64, is: u64) -> bool {
    // SAFETY: in bounds, as `way` is below `PROCESS_WAYS`; atomics on a map value.
    unsafe {
        let count = &raw mut (*bucket).count;
        if was == 0 {
            atomic::add(count, 1);
        }
        let changed = atomic::replace((&raw mut (*bucket).words).cast::<u64>().add(way as usize), was, is) == was;
        let one_less = if was == 0 { !changed } else { changed && is == 0 };
        if one_less {
            atomic::add(count, u64::MAX);
        }
        changed
    }
}

/// Whether there was such a process, which has this word now.
#[inline(always)]
fn replaced(bucket: *mut Processes, tgid: u32, word: u64) -> bool {
    for way in 0..PROCESS_WAYS {
        // SAFETY: a number of a map value that is read at once.
        let was = unsafe { (&raw const (*bucket).words[way as usize]).read_volatile() };
        if is_process(was, tgid) && exchange(bucket, way, was, word) {
            return true;
        }
    }
    false
}

/// Takes the first place that is free; [`PROCESS_WAYS`] where none is.
#[inline(always)]
fn taken(bucket: *mut Processes, word: u64) -> u32 {
    for way in 0..PROCESS_WAYS {
        if exchange(bucket, way, 0, word) {
            return way;
        }
    }
    PROCESS_WAYS
}

/// Whether a process is in a place before this one as well.
#[inline(always)]
fn is_before(bucket: *mut Processes, tgid: u32, way: u32) -> bool {
    for other in 0..PROCESS_WAYS {
        // SAFETY: as above.
        if other < way && is_process(unsafe { (&raw const (*bucket).words[other as usize]).read_volatile() }, tgid) {
            return true;
        }
    }
    false
}
