//! What is kept of a request or a bio from its begin to its end, and how what has ended is counted.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use stemedb_ebpf::Lost;
use stemedb_ebpf::disk::{
    ASKED_FLUSH, ASKED_FUA, DISK_BUCKETS, DiskCounts, DiskErrorKey, DiskKey, DiskOp, DiskRequest, FAILED, FlushKey,
    FlushStats, ISSUED, LatencyKey, LatencyStats, Origin, STALE_NS, request_bucket,
};
use stemedb_ebpf::phases::part;
use stemedb_ebpf::slots::{HIGHEST, chosen, exceeds, latency_slot};
use stemedb_ebpf::tables::WAYS;

use super::activity;
use super::charge::Charge;
use super::maps::{
    self, DISK_CELLS, DISK_COUNTS, DISK_ERRORS, DISK_FLUSHES, DISK_LATENCIES, LATENCY_CELLS, NO_LATENCIES, REQUEST_IDS,
    REQUESTS, add, is_patient, lost, setting,
};
use super::phases;
use super::read::{self, Addr, lower_half};
use super::table;
use super::task;

const BPF_NOEXIST: u64 = 1;

/// How a request is counted.
#[inline(always)]
pub fn key_of(dev: u32, op: DiskOp, target: u32, class: u32, origin: u8) -> DiskKey {
    DiskKey { dev, target, class, op: op as u16, origin: u16::from(origin) }
}

/// The monotonic clock.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the clock has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// What is kept of one that has begun.
#[inline(always)]
pub fn known(address: Addr) -> Option<&'static mut DiskRequest> {
    let bucket = request_bucket(lower_half(address));
    at(if is_patient() {
        table::find(&REQUEST_IDS, bucket, address)
    } else {
        request_find(u64::from(bucket), read::number(address)) as u32
    })
}

/// The place of a request; 0 where it has none. Global, as below.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn request_find(bucket: u64, address: u64) -> u64 {
    u64::from(table::find(&REQUEST_IDS, bucket as u32, address))
}

#[inline(always)]
fn at(place: u32) -> Option<&'static mut DiskRequest> {
    if place == 0 {
        return None;
    }
    // SAFETY: a request is in one place of the kernel at a time, and the place is its own until `forget`.
    unsafe { REQUESTS.get_ptr_mut(place - 1)?.as_mut() }
}

/// Keeps what is known of a request or bio until its end. One by the same address has ended unseen.
#[inline(always)]
pub fn remember(address: Addr, request: &mut DiskRequest) {
    let bucket = request_bucket(lower_half(address));
    let (mut place, is_known) = if is_patient() {
        table::find_or_take(&REQUEST_IDS, bucket, read::number(address))
    } else {
        let taken = request_take(u64::from(bucket), read::number(address));
        (taken as u32, taken >> 32 != 0)
    };
    if is_known {
        missed(place);
    } else if place == 0 {
        place = request_stale(u64::from(bucket), read::number(address)) as u32;
    }
    let Some(kept) = at(place) else {
        lost(Lost::RequestsFull);
        become_part(request, part::NONE);
        return;
    };
    request.place = place;
    *kept = *request;
}

/// The place of a request, and in the upper half whether it had one.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once, and not anew for every way that leads
/// to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn request_take(bucket: u64, address: u64) -> u64 {
    let (place, is_known) = table::find_or_take(&REQUEST_IDS, bucket as u32, address);
    u64::from(place) | u64::from(is_known) << 32
}

/// The end of the request at a place was not seen.
#[inline(always)]
pub fn missed(place: u32) {
    if let Some(request) = at(place) {
        lost(Lost::MissedCompletion);
        become_part(request, part::NONE);
    }
}

/// Takes the place of a request whose end was not seen; 0 where there is none. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn request_stale(bucket: u64, address: u64) -> u64 {
    let now = now();
    let mut found = 0;
    for way in 0..WAYS {
        let place = bucket as u32 * WAYS + way + 1;
        let Some(request) = REQUESTS.get_ptr(place - 1) else { return 0 };
        // SAFETY: numbers of a map value.
        let begun = unsafe { (*request).start_ns | (*request).issue_ns };
        // Without branches, each of which is two ways for the verifier. What two times have together is not before either.
        let is_stale = exceeds(now, begun & HIGHEST) & exceeds(now.wrapping_sub(begun) & HIGHEST, STALE_NS);
        found = chosen(is_stale, place.into(), found);
    }
    let found = found as u32;
    let was = table::id_at(&REQUEST_IDS, found);
    if was == 0 || !table::change(&REQUEST_IDS, found, was, address) {
        return 0;
    }
    missed(found);
    u64::from(found)
}

/// Makes a request that has just begun a part of what those look at who may wait for it in sync calls.
#[inline(always)]
pub fn join(request: &mut DiskRequest, charge: &Charge, is_empty: bool, is_bio: bool) {
    let own = phases::of(if phases::any() { u64::from(task::thread()) } else { 0 });
    let (file, journal) = phases::waits_for(own);
    let is_journal = matches!(charge.origin, Origin::Journal);
    let is_write = request.op == DiskOp::Write as u8;
    let asks_flush = request.flags & ASKED_FLUSH != 0;
    let (shared, key) = if is_journal {
        // Of a journal only the flushes are told from the rest.
        (0, if asks_flush { charge.waited } else { 0 })
    } else if own != 0 {
        if asks_flush && is_empty {
            phases::waits_for_flush(own);
        }
        (if asks_flush && is_empty { journal } else { file }, 0)
    } else {
        (0, if is_write { charge.waited } else { 0 })
    };
    let place = if key != 0 {
        activity::activity_enter(key) as u32
    } else {
        activity::again(shared);
        shared
    };
    request.activity = place as u16;
    let first = if asks_flush {
        part::FLUSH
    } else if is_bio {
        part::BIO
    } else {
        part::QUEUE
    };
    become_part(request, first);
}

/// A request goes on to another part of its way; with [`part::NONE`], it is done.
#[inline(always)]
pub fn become_part(request: &mut DiskRequest, next: u16) {
    if request.activity == 0 {
        return;
    }
    let place = u32::from(request.activity);
    activity::moved(place, request.part, next);
    request.part = next;
    if next == part::NONE {
        activity::leave(place);
        request.activity = 0;
    }
}

/// What it is a part of while the driver has it. Of a journal's only the flush is told from the rest.
#[inline(always)]
pub fn at_device(request: &DiskRequest) -> u16 {
    if request.origin == Origin::Journal as u8 { part::HELD } else { part::DEVICE }
}

/// What is kept of one that begins like this.
#[inline(always)]
pub fn begun(op: DiskOp, dev: u32, charge: &Charge, flags: u16) -> DiskRequest {
    DiskRequest {
        start_ns: 0,
        issue_ns: 0,
        inode: charge.inode,
        dev,
        target: charge.target,
        class: charge.class,
        op: op as u8,
        origin: charge.origin as u8,
        flags,
        bytes: 0,
        activity: 0,
        part: part::NONE,
        place: 0,
        zero: [0; 3],
    }
}

/// Forgets one that has ended, or goes on as part of another.
#[inline(always)]
pub fn forget(request: &DiskRequest) {
    table::free(&REQUEST_IDS, request.place);
}

/// Adds what has ended.
#[inline(never)]
pub fn add_counts(key: &DiskKey, ios: u64, bytes: u64) {
    match counts(key) {
        // SAFETY: this processor's own value; the kernel lets no program run within itself.
        Some(counts) => unsafe {
            (*counts).ios += ios;
            (*counts).bytes += bytes;
        },
        None => lost(Lost::DisksFull),
    }
}

#[inline(always)]
fn counts(key: &DiskKey) -> Option<*mut DiskCounts> {
    match table::cell(&DISK_CELLS, DISK_BUCKETS, key.word()) {
        0 => None,
        place => DISK_COUNTS.get_ptr_mut(place - 1),
    }
}

/// What comes back from the driver, once all of it has.
#[inline(always)]
pub fn end_at_device(request: &mut DiskRequest, op: DiskOp) {
    if request.issue_ns == 0 {
        return;
    }
    let key = LatencyKey { dev: request.dev, target: request.target, op: op as u32 };
    if let Some(stats) = latencies(&key) {
        // SAFETY: as in `add_counts`.
        let stats = unsafe { &mut *stats };
        let device = now() - request.issue_ns;
        stats.device_sum_ns += device;
        add(&mut stats.device, latency_slot(device));
        if request.start_ns != 0 {
            let queue = request.issue_ns - request.start_ns;
            stats.queue_sum_ns += queue;
            add(&mut stats.queue, latency_slot(queue));
        }
    }
    if request.flags & ASKED_FLUSH != 0 && request.start_ns != 0 {
        // Its data went to the driver as soon as the flush before it was done.
        count_flush(request, request.issue_ns - request.start_ns);
        request.flags &= !ASKED_FLUSH;
    }
    request.issue_ns = 0;
}

/// The last that is seen of a request.
#[inline(always)]
pub fn end(request: &DiskRequest, op: DiskOp) {
    if matches!(op, DiskOp::Flush) {
        return;
    }
    if request.flags & ASKED_FLUSH != 0 && request.start_ns != 0 {
        // It had no data: it was the flush.
        count_flush(request, now() - request.start_ns);
    }
    if request.flags & ASKED_FUA != 0
        && let Some(stats) = flushes(request)
    {
        // SAFETY: as in `add_counts`.
        unsafe { (*stats).fua += 1 }
    }
}

#[inline(always)]
fn latencies(key: &LatencyKey) -> Option<*mut LatencyStats> {
    let found = match table::cell(&LATENCY_CELLS, setting!(latency_buckets), key.word()) {
        0 => None,
        place => DISK_LATENCIES.get_ptr_mut(place - 1),
    };
    if found.is_none() {
        lost(Lost::DisksFull);
    }
    found
}

#[inline(always)]
fn flushes(request: &DiskRequest) -> Option<*mut FlushStats> {
    let key = FlushKey { dev: request.dev, target: request.target };
    if let Some(found) = DISK_FLUSHES.get_ptr_mut(&key) {
        return Some(found);
    }
    const { assert!(size_of::<FlushStats>() <= size_of::<LatencyStats>()) }
    // SAFETY: as above; both are zeros, and this is the shorter one.
    let none = unsafe { &*NO_LATENCIES.get_ptr(0)?.cast::<FlushStats>() };
    let _ = DISK_FLUSHES.insert(&key, none, BPF_NOEXIST);
    let found = DISK_FLUSHES.get_ptr_mut(&key);
    if found.is_none() {
        lost(Lost::DisksFull);
    }
    found
}

#[inline(always)]
fn count_flush(request: &DiskRequest, ns: u64) {
    let Some(stats) = flushes(request) else { return };
    // SAFETY: as in `add_counts`.
    let stats = unsafe { &mut *stats };
    stats.sum_ns += ns;
    add(&mut stats.slots, latency_slot(ns));
}

/// Counts a failure once. A flush is the block layer's own request: whoever asked for it is told, and counted here.
#[inline(always)]
pub fn failed(request: &mut DiskRequest, key: &DiskKey, op: DiskOp, bytes: u32, status: i16) {
    if matches!(op, DiskOp::Flush) || request.flags & FAILED != 0 {
        return;
    }
    request.flags |= FAILED;
    let was_issued = request.flags & ISSUED != 0;
    // The flush before its data has failed, or that after it.
    let by_flush = if was_issued { bytes == 0 } else { request.flags & ASKED_FLUSH != 0 };
    count_error(key, if by_flush { DiskOp::Flush } else { op }, status);
}

/// Counts a failure of an operation.
#[inline(always)]
pub fn count_error(key: &DiskKey, op: DiskOp, status: i16) {
    let key = DiskErrorKey { dev: key.dev, target: key.target, class: key.class, op: op as u16, status };
    maps::count(&DISK_ERRORS, &key, Lost::DisksFull);
}
