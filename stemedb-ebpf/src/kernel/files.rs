//! The table of files that targets write; see [`stemedb_ebpf::files`].

use stemedb_ebpf::Lost;
use stemedb_ebpf::files::{
    FILE_BUSY, FILE_IDLE_NS, FILE_WAITS_NS, FileRecord, Pending, file_bucket, file_target, file_word, is_of_file,
};
use stemedb_ebpf::slots::{HIGHEST, chosen, exceeds, is_set};
use stemedb_ebpf::tables::WAYS;

use super::atomic;
use super::disk::now;
use super::maps::{FILE_IDS, FILES, is_patient, lost, lost_many, offset};
use super::read::{self, Addr};
use super::table;

/// How often a record is looked for that another is just making.
const TRIES: usize = 4;
/// How often it is looked at meanwhile: less than a microsecond. Who is interrupted while it makes one takes longer; then a write looks for
/// it once more as it ends.
const PATIENCE: usize = 256;
/// Set in what [`file_claim`] returns.
const KNOWN: u64 = 1 << 32;
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
    if is_patient() { found(inode, target) } else { file_written(inode, u64::from(target)) as u32 }
}

/// The same as a function that the verifier looks at by itself. Global, as below.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_written(inode: u64, target: u64) -> u64 {
    u64::from(found(inode, target as u32))
}

#[inline(always)]
fn found(inode: Addr, target: u32) -> u32 {
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
    match written(inode, target as u32) {
        0 => file_make(inode, target),
        place => u64::from(place),
    }
}

/// Makes the record of a file that a target writes, or anew where another file has been at the address. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_make(inode: u64, target: u64) -> u64 {
    let word = file_word(inode, target as u32);
    let (ino, generation) = identity(inode);
    for _ in 0..TRIES {
        let place = file_written(inode, target);
        if place != 0 {
            return place;
        }
        let claimed = file_claim(u64::from(file_bucket(inode as u32)), word);
        let place = claimed as u32;
        let Some(record) = at(place) else { continue };
        // Another may have made it in between.
        if claimed & KNOWN == 0 || !is_same(place, ino, generation) {
            let fresh =
                FileRecord { ino, generation, class: 0, used_ns: u64::MAX, pending: Pending::NONE, zero: [0; 2] };
            // SAFETY: nobody else uses a record that is busy.
            unsafe { *record = fresh }
        }
        table::change(&FILE_IDS, place, word | FILE_BUSY, word);
        return u64::from(place);
    }
    0
}

/// The place of the record that is known by `word`, with [`KNOWN`], or is to be; busy for the caller. 0 where another had it, or there is no
/// room. What is done while it is busy takes some nanoseconds, and others wait for it. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_claim(bucket: u64, word: u64) -> u64 {
    let (bucket, busy) = (bucket as u32, word | FILE_BUSY);
    let place = table::find(&FILE_IDS, bucket, word);
    if place != 0 {
        return if table::change(&FILE_IDS, place, word, busy) { u64::from(place) | KNOWN } else { 0 };
    }
    let others = table::find(&FILE_IDS, bucket, busy);
    if others != 0 {
        file_settle(u64::from(others), busy);
        return 0;
    }
    let mut place = table::take(&FILE_IDS, bucket, busy);
    if place == 0 {
        place = file_idle(u64::from(bucket), busy) as u32;
    }
    if place != 0 && file_is_alone(u64::from(place), word) == 0 {
        table::free(&FILE_IDS, place);
        return 0;
    }
    u64::from(place)
}

/// What [`owner`] unpacks: 0 where nobody is known. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_owner(inode: u64) -> u64 {
    let bucket = file_bucket(inode as u32);
    let (mut found, mut latest) = (0, 0);
    for way in 0..WAYS {
        let place = bucket * WAYS + way + 1;
        let id = table::id_at(&FILE_IDS, place);
        let Some(record) = FILES.get_ptr(place - 1) else { return 0 };
        // SAFETY: a number of a map value.
        let used_ns = unsafe { (&raw const (*record).used_ns).read_volatile() } & HIGHEST;
        // Without branches, as in `file_idle`.
        let better = is_of_file(id, inode) & exceeds(used_ns | 1, latest);
        found = chosen(better, place.into(), found);
        latest = chosen(better, used_ns | 1, latest);
    }
    let found = found as u32;
    let (ino, generation) = identity(inode);
    if !is_same(found, ino, generation) {
        return 0;
    }
    // SAFETY: as above.
    let class = at(found).map_or(0, |record| unsafe { (*record).class });
    OWNED | u64::from(file_target(table::id_at(&FILE_IDS, found))) << 16 | u64::from(class & 0xffff)
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
/// becomes of the other. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_is_alone(own: u64, word: u64) -> u64 {
    let first = (own.wrapping_sub(1) & !u64::from(WAYS - 1)) + 1;
    let mut other = 0;
    for way in (0..u64::from(WAYS)).rev() {
        let place = first + way;
        let id = table::id_at(&FILE_IDS, place as u32);
        let is_other = (is_set((id & !FILE_BUSY) ^ word) ^ 1) & is_set(place ^ own);
        other = chosen(is_other, place, other);
    }
    if other == 0 {
        return 1;
    }
    u64::from(other > own && file_settle(other, word | FILE_BUSY) != word)
}

/// Waits until a place is not busy as `busy` any more; what it is then. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_settle(place: u64, busy: u64) -> u64 {
    // In the loop there is one load: each turn of it is something to look at for the verifier.
    let Some(place) = table::slot(&FILE_IDS, place as u32) else { return 0 };
    for _ in 0..PATIENCE {
        // SAFETY: a number of a map value that is read at once.
        let id = unsafe { place.read_volatile() };
        if id != busy {
            return id;
        }
    }
    busy
}

/// Takes the place of the record that has been idle for longest, if that is long enough; one with writes that wait only if there is no
/// other. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn file_idle(bucket: u64, word: u64) -> u64 {
    const WAITS: u64 = 1 << 62;
    let now = now();
    let (mut found, mut least) = (0, HIGHEST);
    for way in 0..WAYS {
        let place = bucket as u32 * WAYS + way + 1;
        let Some(record) = FILES.get_ptr_mut(place - 1) else { return 0 };
        // SAFETY: numbers of a map value.
        let (used_ns, writes) = unsafe { ((*record).used_ns, (*record).pending.writes) };
        // Without branches, each of which is two ways for the verifier.
        let waits = exceeds(writes, 0);
        let limit = FILE_IDLE_NS + waits * (FILE_WAITS_NS - FILE_IDLE_NS);
        let is_idle = exceeds(now, used_ns & HIGHEST) & exceeds(now.wrapping_sub(used_ns) & HIGHEST, limit);
        let rank = (used_ns | (waits * WAITS)) & HIGHEST;
        let better = is_idle & exceeds(least, rank);
        found = chosen(better, place.into(), found);
        least = chosen(better, rank, least);
    }
    let found = found as u32;
    let was = table::id_at(&FILE_IDS, found);
    if was & FILE_BUSY != 0 || was == 0 || !table::change(&FILE_IDS, found, was, word) {
        return 0;
    }
    if let Some(record) = at(found) {
        // SAFETY: as above.
        lost_many(Lost::PendingSwept, unsafe { (*record).pending.writes });
    }
    u64::from(found)
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
