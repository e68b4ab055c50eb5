//! The table of files that targets write; see [`stemedb_ebpf::files`].

use stemedb_ebpf::Lost;
use stemedb_ebpf::files::{
    FILE_BUSY, FILE_IDLE_NS, FILE_WAITS_NS, FileRecord, Pending, file_bucket, file_target, file_word, is_of_file,
};
use stemedb_ebpf::tables::WAYS;

use super::atomic;
use super::disk::now;
use super::maps::{FILE_IDS, FILES, lost, lost_many, offset};
use super::read::{self, Addr};
use super::table;

/// How often a record is looked for that another is just making.
const TRIES: usize = 4;
/// How often it is looked at meanwhile: a microsecond or two.
const PATIENCE: usize = 512;
/// Set in what [`file_owner`] returns.
const OWNED: u64 = 1 << 63;

/// Who has written to a file last.
#[derive(Clone, Copy)]
pub struct Owner {
    /// Index of the target.
    pub target: u32,
    /// Class of the file.
    pub class: u32,
}

/// The record at a place, from 1 on.
#[inline(always)]
pub fn at(place: u32) -> Option<*mut FileRecord> {
    if place == 0 { None } else { FILES.get_ptr_mut(place - 1) }
}

/// Whether the record at a place is still that of a file and target.
#[inline(always)]
pub fn is_still(place: u32, word: u64) -> bool {
    table::id_at(&FILE_IDS, place) == word
}

/// A target begins to write to a file of a class: the place of its record, or 0.
#[inline(always)]
pub fn note(inode: Addr, target: u32, class: u32) -> u32 {
    let place = file_record(inode, u64::from(target)) as u32;
    if let Some(record) = at(place) {
        // SAFETY: a number of a map value, which each writer sets alike.
        unsafe {
            if (*record).class != class {
                (*record).class = class;
            }
        }
    }
    place
}

/// The place of the record of a file that a target has written; 0 where there is none.
#[inline(always)]
pub fn written(inode: Addr, target: u32) -> u32 {
    let place = table::find(&FILE_IDS, file_bucket(inode as u32), file_word(inode, target));
    let (ino, generation) = identity(inode);
    if is_same(place, ino, generation) { place } else { 0 }
}

/// The record at a place is in use.
#[inline(always)]
pub fn touch(place: u32, now_ns: u64) {
    if let Some(record) = at(place) {
        // SAFETY: a number of a map value.
        unsafe { (&raw mut (*record).used_ns).write_volatile(now_ns) }
    }
}

/// The target and the class of a file by its inode.
#[inline(always)]
pub fn owner(inode: Addr) -> Option<Owner> {
    let found = file_owner(inode);
    (found & OWNED != 0).then_some(Owner { target: (found & !OWNED) as u32 >> 16, class: found as u32 & 0xffff })
}

/// The place of the record of a file that a target writes, which is made where there is none; 0 without room for it.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once, and not anew for every way that leads
/// to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_record(inode: u64, target: u64) -> u64 {
    let (ino, generation) = identity(inode);
    let word = file_word(inode, target as u32);
    let bucket = file_bucket(inode as u32);
    // What is done while a record is busy takes some nanoseconds; others wait for it.
    for _ in 0..TRIES {
        let mut place = table::find(&FILE_IDS, bucket, word);
        if place != 0 {
            if is_same(place, ino, generation) {
                return u64::from(place);
            }
            // The one at this address is another file now.
            if !table::change(&FILE_IDS, place, word, word | FILE_BUSY) {
                continue;
            }
        } else {
            let busy = table::find(&FILE_IDS, bucket, word | FILE_BUSY);
            if busy != 0 {
                file_settle(u64::from(busy), word | FILE_BUSY);
                continue;
            }
            place = table::take(&FILE_IDS, bucket, word | FILE_BUSY);
            if place == 0 {
                place = idle(bucket, word | FILE_BUSY);
            }
            if place == 0 {
                break;
            }
            if !is_alone(bucket, word, place) {
                table::free(&FILE_IDS, place);
                continue;
            }
        }
        let Some(record) = at(place) else { break };
        let fresh = FileRecord { ino, generation, class: 0, used_ns: u64::MAX, pending: Pending::NONE, zero: [0; 2] };
        // SAFETY: nobody else uses a record that is busy.
        unsafe { *record = fresh }
        table::change(&FILE_IDS, place, word | FILE_BUSY, word);
        return u64::from(place);
    }
    0
}

/// What [`owner`] unpacks: 0 where nobody is known. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_owner(inode: u64) -> u64 {
    let bucket = file_bucket(inode as u32);
    let (mut found, mut class, mut word, mut used_ns) = (0, 0, 0, 0);
    for way in 0..WAYS {
        let place = bucket * WAYS + way + 1;
        let id = table::id_at(&FILE_IDS, place);
        if !is_of_file(id, inode) {
            continue;
        }
        let Some(record) = at(place) else { continue };
        // SAFETY: numbers of a map value.
        let (used, its_class) = unsafe { ((*record).used_ns, (*record).class) };
        if found == 0 || used > used_ns {
            (found, class, word, used_ns) = (place, its_class, id, used);
        }
    }
    let (ino, generation) = identity(inode);
    if !is_same(found, ino, generation) {
        return 0;
    }
    OWNED | u64::from(file_target(word)) << 16 | u64::from(class & 0xffff)
}

/// By what an inode is told from another that is at the same address later.
#[inline(always)]
fn identity(inode: Addr) -> (u64, u32) {
    (read::at(inode, offset!(inode_ino)).unwrap_or(0), read::at(inode, offset!(inode_generation)).unwrap_or(0))
}

#[inline(always)]
fn is_same(place: u32, ino: u64, generation: u32) -> bool {
    // SAFETY: numbers of a map value.
    at(place).is_some_and(|record| unsafe { (*record).ino == ino && (*record).generation == generation })
}

/// Whether the record that is busy in its own place is the only one of its file and target. Another processor may take a place for the same
/// at the same moment, and at least one of the two sees the other: the first place is the better one, and who has that waits for what
/// becomes of the other.
#[inline(always)]
fn is_alone(bucket: u32, word: u64, own: u32) -> bool {
    for way in 0..WAYS {
        let place = bucket * WAYS + way + 1;
        if place == own {
            continue;
        }
        let mut id = table::id_at(&FILE_IDS, place);
        if id == word | FILE_BUSY {
            if place < own {
                return false;
            }
            id = file_settle(u64::from(place), word | FILE_BUSY);
        }
        if id == word {
            return false;
        }
    }
    true
}

/// Waits until a place is not busy as `busy` any more; what it is then. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_settle(place: u64, busy: u64) -> u64 {
    for _ in 0..PATIENCE {
        let id = table::id_at(&FILE_IDS, place as u32);
        if id != busy {
            return id;
        }
    }
    busy
}

/// Takes the place of the record that has been idle for longest, if that is long enough; one with writes that wait only if there is no
/// other.
#[inline(always)]
fn idle(bucket: u32, word: u64) -> u32 {
    const WAITS: u64 = 1 << 63;
    let now = now();
    let (mut found, mut was, mut least) = (0, 0, u64::MAX);
    for way in 0..WAYS {
        let place = bucket * WAYS + way + 1;
        let id = table::id_at(&FILE_IDS, place);
        let Some(record) = at(place) else { continue };
        // SAFETY: numbers of a map value.
        let (used_ns, writes) = unsafe { ((*record).used_ns, (*record).pending.writes) };
        let (limit, rank) = if writes == 0 { (FILE_IDLE_NS, used_ns) } else { (FILE_WAITS_NS, used_ns | WAITS) };
        if id & FILE_BUSY == 0 && now.saturating_sub(used_ns) > limit && rank < least {
            (found, was, least) = (place, id, rank);
        }
    }
    if found == 0 || !table::change(&FILE_IDS, found, was, word) {
        return 0;
    }
    if let Some(record) = at(found) {
        // SAFETY: as above.
        lost_many(Lost::PendingSwept, unsafe { (*record).pending.writes });
    }
    found
}

/// Takes the writes that a sync will cover; what is written from here on belongs to the next one.
///
/// Writers on other processors go on meanwhile, and there is no lock. A writer sets `first_ns` before it counts itself, and looks
/// again afterwards; a sync takes in the opposite order. So a time without a write is a writer's that is just about to
/// count itself: it is dropped here, and that writer sets it anew.
#[inline(always)]
pub fn take_group(place: u32, group: &mut Pending) {
    let Some(record) = at(place) else { return };
    // SAFETY: atomics on a map value, which stays readable for as long as the program runs.
    unsafe {
        let pending = &raw mut (*record).pending;
        if (&raw const (*pending).writes).read_volatile() == 0 {
            return;
        }
        group.writes = atomic::swap(&raw mut (*pending).writes, 0);
        group.bytes = atomic::swap(&raw mut (*pending).bytes, 0);
        group.first_ns = atomic::swap(&raw mut (*pending).first_ns, 0);
        if group.writes == 0 {
            atomic::add(&raw mut (*pending).bytes, group.bytes);
            group.bytes = 0;
            group.first_ns = 0;
        }
    }
}

/// Adds writes to those of a file that wait. The older `first_ns` stays.
#[inline(always)]
pub fn add_pending(place: u32, word: u64, more: &Pending, now_ns: u64) {
    let Some(record) = at(place) else { return lost(Lost::PendingFull) };
    if !is_still(place, word) {
        // It has made room for another while the call went on.
        return lost_many(Lost::PendingSwept, more.writes);
    }
    // SAFETY: atomics on a map value.
    unsafe {
        let pending = &raw mut (*record).pending;
        let first = &raw mut (*pending).first_ns;
        if atomic::set_if_zero(first, more.first_ns) > more.first_ns {
            first.write_volatile(more.first_ns);
        }
        atomic::add(&raw mut (*pending).bytes, more.bytes);
        atomic::add(&raw mut (*pending).writes, more.writes);
        // See `take_group`.
        atomic::set_if_zero(first, more.first_ns);
    }
    touch(place, now_ns);
    if !is_still(place, word) {
        lost_many(Lost::PendingSwept, more.writes);
    }
}
