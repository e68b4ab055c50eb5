//! What of a file's I/O is in flight: each request of it is a part, from its begin to its end, and each sync call that may wait for it
//! takes readings. See [`Activity`].
//!
//! There is no lock. Events on two processors that meet within some ten nanoseconds may charge these to each other's phase; nothing
//! is counted twice or not at all, because each event takes the time since the one before by a swap.

use stemedb_ebpf::Lost;
use stemedb_ebpf::phases::{ACTIVITY_PROBES, Activity, MAX_ACTIVITIES, Phase, Seen, part, phase_of};
use stemedb_ebpf::tables::bucket_of;

use super::atomic;
use super::disk::now;
use super::maps::{ACTIVITIES, lost};

/// The lower bits of [`Activity::word`], and what is above them.
const USES: u64 = 0xffff;
const KEY_SHIFT: u32 = 16;

/// Finds the activity that is known by `key`, or makes it, for one more user; 0 where there is no room.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once, and not anew for every way that leads
/// to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn activity_enter(key: u64) -> u64 {
    let key = key << KEY_SHIFT;
    let first = bucket_of((key >> KEY_SHIFT) as u32, MAX_ACTIVITIES);
    for probe in 0..ACTIVITY_PROBES {
        let place = (first + probe) & (MAX_ACTIVITIES - 1);
        if joined(place, key) {
            return u64::from(place) + 1;
        }
    }
    for probe in 0..ACTIVITY_PROBES {
        let place = (first + probe) & (MAX_ACTIVITIES - 1);
        if taken(place, key) || joined(place, key) {
            return u64::from(place) + 1;
        }
    }
    lost(Lost::ActivitiesFull);
    0
}

/// Whether what is there is the one, and now has one more user.
#[inline(always)]
fn joined(place: u32, key: u64) -> bool {
    let Some(activity) = ACTIVITIES.get_ptr_mut(place) else { return false };
    // SAFETY: atomics on a map value.
    unsafe {
        let word = &raw mut (*activity).word;
        if word.read_volatile() & !USES != key {
            return false;
        }
        // It may become another's in between, which is then in use for a moment more.
        if atomic::fetch_add(word, 1) & !USES == key {
            return true;
        }
        atomic::add(word, u64::MAX);
    }
    false
}

/// Whether nobody used what is there, so that it is ours now. Its sums go on: only differences are of interest.
#[inline(always)]
fn taken(place: u32, key: u64) -> bool {
    let Some(activity) = ACTIVITIES.get_ptr_mut(place) else { return false };
    // SAFETY: as above.
    unsafe {
        let word = &raw mut (*activity).word;
        let was = word.read_volatile();
        was & USES == 0 && atomic::replace(word, was, key | 1) == was
    }
}

/// One more user of an activity that the caller uses already.
#[inline(always)]
pub fn again(place: u32) {
    if let Some(activity) = at(place) {
        // SAFETY: as above.
        unsafe { atomic::add(&raw mut (*activity).word, 1) }
    }
}

/// One user less.
#[inline(always)]
pub fn leave(place: u32) {
    if let Some(activity) = at(place) {
        // SAFETY: as above.
        unsafe { atomic::add(&raw mut (*activity).word, u64::MAX) }
    }
}

#[inline(always)]
fn at(place: u32) -> Option<*mut Activity> {
    if place == 0 { None } else { ACTIVITIES.get_ptr_mut(place - 1) }
}

/// A request becomes another part of an activity than it was, or none.
#[inline(always)]
pub fn moved(place: u32, from: u16, to: u16) {
    if place != 0 && from != to {
        activity_change(u64::from(place), part::one(to).wrapping_sub(part::one(from)));
    }
}

/// Charges the time since the last event to what was in flight, and changes that. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn activity_change(place: u64, change: u64) -> u64 {
    let Some(activity) = at(place as u32) else { return 0 };
    // SAFETY: atomics on a map value.
    unsafe {
        let now = now();
        // Negative where another processor has been faster: what is missing here is there.
        let ns = now.wrapping_sub(atomic::swap(&raw mut (*activity).last_ns, now));
        let counts = atomic::fetch_add(&raw mut (*activity).counts, change);
        let phase = phase_of(counts);
        let sum = match phase {
            Phase::Flush => &raw mut (*activity).flush_ns,
            Phase::Device => &raw mut (*activity).device_ns,
            Phase::Queue => &raw mut (*activity).queue_ns,
            _ => &raw mut (*activity).idle_ns,
        };
        atomic::add(sum, ns);
        let begins = matches!(phase, Phase::Other) && !matches!(phase_of(counts.wrapping_add(change)), Phase::Other);
        if begins {
            let idle = (&raw const (*activity).idle_ns).read_volatile();
            (&raw mut (*activity).late_ns).write_volatile(idle);
        }
    }
    0
}

/// Whether a request that waits for a flush is in flight.
#[inline(always)]
pub fn is_flushing(place: u32) -> bool {
    let Some(activity) = at(place) else { return false };
    // SAFETY: a number of a map value that is read at once.
    let counts = unsafe { (&raw const (*activity).counts).read_volatile() };
    matches!(phase_of(counts), Phase::Flush)
}

/// The sums now.
#[inline(always)]
pub fn seen(place: u32, journal: u32) -> Seen {
    let mut seen = Seen { queue_ns: 0, device_ns: 0, flush_ns: 0, idle_ns: 0, journal_flush_ns: 0 };
    if let Some(activity) = read(place) {
        seen.queue_ns = activity.queue_ns;
        seen.device_ns = activity.device_ns;
        seen.flush_ns = activity.flush_ns;
        seen.idle_ns = activity.idle_ns;
    }
    if let Some(activity) = read(journal) {
        seen.journal_flush_ns = activity.flush_ns;
    }
    seen
}

/// The activity with its sums up to now.
#[inline(always)]
pub fn read(place: u32) -> Option<&'static Activity> {
    if place == 0 {
        return None;
    }
    activity_change(u64::from(place), 0);
    // SAFETY: numbers that are read at once.
    unsafe { at(place)?.as_ref() }
}
