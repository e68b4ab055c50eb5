//! The life of a watched call or request: what is kept at its begin, and what is added up at its end.

use stemedb_ebpf::files::{Pending, file_word, inode_of};
use stemedb_ebpf::ops::{OPS, Op, SYNC_OPS, Way};
use stemedb_ebpf::phases::Phase;
use stemedb_ebpf::slots::{latency_slot, size_slot};
use stemedb_ebpf::tables::bucket_of;
use stemedb_ebpf::{
    CLASS_OTHER, DURABLE, ErrorKey, FULL_SYNC, GROUP, INFLIGHT_BUCKETS, Inflight, InflightKey, Lost, SYNC_CELL,
    UNRESOLVED,
};

use super::class;
use super::disk::now;
use super::file::File;
use super::files;
use super::maps::{
    ERRORS, INFLIGHT, INFLIGHT_IDS, SYNC_STATS, WRITE_STATS, count, is_patient, lost, lost_many, raise, raise_one,
    raise_to, setting,
};
use super::phases;
use super::read;
use super::slow;
use super::table;
use super::waits;

/// `__O_SYNC | O_DSYNC` (include/uapi/asm-generic/fcntl.h)
const O_SYNC: u32 = 0o4_010_000;
/// include/uapi/linux/fs.h
const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;
/// ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK (include/linux/errno.h): never seen
/// by a program; the kernel enters the call again, or turns it into EINTR.
const RESTART: core::ops::RangeInclusive<i64> = -516..=-512;

/// What begins.
#[derive(Clone, Copy)]
pub struct Begin {
    /// [`Op`]
    pub op: u8,
    /// The thread that asks for it, as [`super::task::Watched`] has it.
    pub thread: u64,
    /// Index of the target.
    pub target: u32,
    /// Flags of [`Inflight`] that the caller knows.
    pub flags: u32,
    /// Whether it is a request, which others than this thread may carry out.
    pub is_request: bool,
}

/// What the `RWF_` flags of one write say of its durability.
#[inline(always)]
pub fn rwf(flags: u32) -> u32 {
    if flags & RWF_SYNC != 0 {
        DURABLE | FULL_SYNC
    } else if flags & RWF_DSYNC != 0 {
        DURABLE
    } else {
        0
    }
}

/// Begins a call or a request: classifies its file, and for a sync takes the writes that it covers.
#[inline(always)]
pub fn begin(key: InflightKey, what: Begin, file: &File) {
    let Begin { op, thread, target, flags, is_request } = what;
    let place = inflight_take(key.id) as u32;
    let Some(call) = at(place) else {
        lost(Lost::InflightFull);
        return;
    };
    *call = Inflight {
        start_ns: 0,
        file: 0,
        group: Pending::NONE,
        record: 0,
        target,
        cell: target * setting!(classes) + CLASS_OTHER,
        flags,
        op: u32::from(op),
        dev: 0,
        partition: 0,
        place,
        waits: 0,
        zero: 0,
    };
    if file.is_there() {
        classify(call, file, op, target);
    }
    if is_sync(op) || call.flags & DURABLE != 0 {
        phases::reserve(call, key, is_request, thread, file);
    }
    call.start_ns = now();
    if !is_sync(op) {
        files::touch(call.record, call.start_ns);
    }
    phases::begin(call, is_request);
}

/// The key of a request by its address, which may be what the verifier takes for a pointer.
#[inline(always)]
pub fn request(address: u64) -> InflightKey {
    InflightKey::request(read::number(address))
}

#[inline(always)]
fn bucket(id: u64) -> u32 {
    bucket_of(id as u32, INFLIGHT_BUCKETS)
}

#[inline(always)]
fn at(place: u32) -> Option<&'static mut Inflight> {
    if place == 0 {
        return None;
    }
    // SAFETY: the place is this call's own; nobody else reads or writes it. It goes with `finish`.
    unsafe { INFLIGHT.get_ptr_mut(place - 1)?.as_mut() }
}

/// A place for what is known by `id`; 0 where there is none. If there is one by that id, its end has not been seen.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once, and not anew for every way that leads
/// to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn inflight_take(id: u64) -> u64 {
    let (place, is_known) = table::find_or_take(&INFLIGHT_IDS, bucket(id), id);
    if is_known && let Some(missed) = at(place) {
        miss(missed);
    }
    u64::from(place)
}

/// One whose end was not seen. Whether it made durable what it had taken nobody knows.
#[inline(always)]
fn miss(call: &Inflight) {
    lost(Lost::MissedExit);
    if call.flags & GROUP != 0 && call.group.writes != 0 {
        lost_many(Lost::PendingSwept, call.group.writes);
    }
    leave(call);
}

/// What is in flight no more, however it ends.
#[inline(always)]
fn leave(call: &Inflight) {
    waits::end(call);
    phases::leave(call);
}

#[inline(always)]
fn classify(call: &mut Inflight, file: &File, op: u8, target: u32) {
    let class = class::of(file, target);
    call.cell = target * setting!(classes) + class;
    if is_sync(op) {
        // Also that of a directory, and one that closes no group: each may wait for the journal.
        makes_durable(call, file);
    }
    if file.is_dir() {
        return;
    }
    if is_sync(op) {
        if closes_group(op) {
            call.flags |= GROUP;
            call.record = files::written(file.inode, target);
            call.file = file_word(file.inode, target);
            files::take_group(call.record, &mut call.group);
        }
        return;
    }
    call.record = files::note(file.inode, target, class);
    if op == Op::Fallocate as u8 || op == Op::UringFallocate as u8 {
        return;
    }
    // O_SYNC includes the bit of O_DSYNC.
    match file.flags() & O_SYNC {
        0 => {}
        O_SYNC => call.flags |= DURABLE | FULL_SYNC,
        _ => call.flags |= DURABLE,
    }
    if call.flags & DURABLE == 0 {
        call.file = file_word(file.inode, target);
    } else {
        makes_durable(call, file);
    }
}

#[inline(always)]
fn makes_durable(call: &mut Inflight, file: &File) {
    call.dev = waits::device_of(file.inode).unwrap_or(0);
    waits::begin(call);
}

/// Whether a sync makes all earlier writes to its file durable.
#[inline(always)]
fn closes_group(op: u8) -> bool {
    const CLOSING: [Op; 6] =
        [Op::Fsync, Op::Fdatasync, Op::UringFsync, Op::UringFdatasync, Op::AioFsync, Op::AioFdsync];
    const MASK: u32 = {
        let mut mask = 0;
        let mut i = 0;
        while i < CLOSING.len() {
            mask |= 1 << CLOSING[i] as u32;
            i += 1;
        }
        mask
    };
    MASK >> (op & 31) & 1 != 0
}

/// What is kept of a call or a request between its begin and its end.
#[inline(always)]
pub fn in_flight(key: InflightKey) -> Option<&'static mut Inflight> {
    at(if is_patient() { found(key.id) } else { inflight_find(key.id) as u32 })
}

/// The place of what is known by `id`; 0 where there is none. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn inflight_find(id: u64) -> u64 {
    u64::from(found(id))
}

#[inline(always)]
fn found(id: u64) -> u32 {
    table::find(&INFLIGHT_IDS, bucket(id), id)
}

/// Charges a call to its file after all, if that has been found. What was mapped at the call's begin is mapped at its end, unless
/// the program has unmapped what it syncs.
#[inline(always)]
pub fn resolve(call: &mut Inflight, file: &File) {
    if !file.is_there() {
        return;
    }
    // It has been in the class of what has none.
    call.cell = call.cell - CLASS_OTHER + class::of(file, call.target);
    call.flags &= !UNRESOLVED;
}

/// Ends a call or a request, if it is in flight. `ret` is what it returned.
#[inline(always)]
pub fn end(key: InflightKey, ret: i64) {
    if let Some(call) = in_flight(key) {
        finish(call, ret);
    }
}

/// Ends a call or a request that is in flight.
#[inline(always)]
pub fn finish(call: &Inflight, ret: i64) {
    let op = call.op as u8;
    let now = phases::close(call.partition, call.start_ns);
    if RESTART.contains(&ret) {
        lost(Lost::Restarted);
        give_back(call);
    } else {
        if ret < 0 {
            count_error(call.cell, op, ret);
        }
        let ns = now - call.start_ns;
        if is_sync(op) {
            end_sync(call, op, ret, Spent { ns, now });
        } else {
            end_write(call, op, ret, Spent { ns, now });
        }
    }
    leave(call);
    table::free(&INFLIGHT_IDS, call.place);
}

/// Forgets what a dead thread had in flight; its requests end by themselves.
#[inline(always)]
pub fn forget(tid: u32) {
    for (op, info) in (0_u8..).zip(OPS) {
        if !matches!(info.way, Way::Syscall) {
            continue;
        }
        forget_call(u64::from(tid), u64::from(op));
    }
}

/// Forgets a call of a thread. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forget_call(tid: u64, op: u64) -> u64 {
    let key = InflightKey::call(tid as u32, op as u8);
    if let Some(call) = in_flight(key) {
        miss(call);
        table::free(&INFLIGHT_IDS, call.place);
    }
    0
}

#[inline(always)]
fn is_sync(op: u8) -> bool {
    (op as usize) < SYNC_OPS
}

/// How long a call took, and until when.
#[derive(Clone, Copy)]
struct Spent {
    ns: u64,
    now: u64,
}

#[inline(always)]
fn count_sync(call: &Inflight, op: u8, spent: Spent, ret: i64, durable: (u64, u64)) {
    let Spent { ns, now } = spent;
    if ns >= slow::from_ns() {
        slow::tell(call, slow::End { op, total_ns: ns, at_ns: now, ret, durable });
    }
    add_sync(u64::from(call.cell * SYNC_CELL + u32::from(op)), u64::from(call.partition), ns);
}

/// Adds a sync to its statistics.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once, and not anew for every way that leads
/// to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn add_sync(index: u64, partition: u64, ns: u64) -> u64 {
    let Some(stats) = SYNC_STATS.get_ptr_mut(index as u32) else { return 0 };
    // SAFETY: this processor's own value, which other programs there change by atomics, too.
    let stats = unsafe { &mut *stats };
    match phases::parts(partition as u32) {
        Some(parts) => {
            for (sum, part) in stats.phases.iter_mut().zip(parts) {
                // Most are nothing.
                if *part != 0 {
                    raise(sum, *part);
                }
            }
        }
        None => raise(&mut stats.phases[Phase::Other as usize], ns),
    }
    raise(&mut stats.calls, 1);
    raise(&mut stats.sum_ns, ns);
    raise_to(&mut stats.max_ns, ns);
    raise_one(&mut stats.slots, latency_slot(ns), 1);
    0
}

#[inline(always)]
fn end_sync(call: &Inflight, op: u8, ret: i64, spent: Spent) {
    let durable = if ret < 0 { (0, 0) } else { (call.group.writes, call.group.bytes) };
    count_sync(call, op, spent, ret, durable);
    if call.flags & UNRESOLVED != 0 {
        lost(Lost::MsyncFile);
    }
    if call.flags & GROUP != 0 {
        if ret < 0 { give_back(call) } else { end_group(call.cell, &call.group, spent.now) }
    }
}

#[inline(always)]
fn end_write(call: &Inflight, op: u8, ret: i64, spent: Spent) {
    let Spent { ns, now } = spent;
    let bytes = if ret > 0 { ret as u64 } else { 0 };
    if let Some(stats) = WRITE_STATS.get_ptr_mut(call.cell) {
        // SAFETY: as in `add_sync`.
        let stats = unsafe { &mut *stats };
        raise_one(&mut stats.calls, op as usize - SYNC_OPS, 1);
        raise_one(&mut stats.bytes, op as usize - SYNC_OPS, bytes);
        raise(&mut stats.sum_ns, ns);
        raise_to(&mut stats.max_ns, ns);
        raise_one(&mut stats.slots, latency_slot(ns), 1);
    }
    if call.flags & DURABLE != 0 {
        end_durable(call, bytes, ret, spent);
    } else if bytes != 0 && call.file != 0 {
        files::add_pending(record_of(call), call.file, &Pending { first_ns: now, writes: 1, bytes }, now);
    }
}

/// The record of the file of a write that has ended; where there was none at its begin, because another was just making it and was
/// interrupted, once more.
#[inline(always)]
fn record_of(call: &Inflight) -> u32 {
    if call.record != 0 {
        return call.record;
    }
    files::note(inode_of(call.file), call.target, call.cell - call.target * setting!(classes))
}

/// A write that returns when it is durable is a sync as well, of the same length, and a group of its own.
#[inline(always)]
fn end_durable(call: &Inflight, bytes: u64, ret: i64, spent: Spent) {
    let op = if call.flags & FULL_SYNC != 0 { Op::OSync } else { Op::ODsync };
    count_sync(call, op as u8, spent, ret, (u64::from(bytes != 0), bytes));
    if bytes != 0 {
        let group = Pending { first_ns: call.start_ns, writes: 1, bytes };
        end_group(call.cell, &group, spent.now);
    }
}

/// A sync that failed made nothing durable: its group waits for the next one.
#[inline(always)]
fn give_back(call: &Inflight) {
    if call.group.writes != 0 {
        files::add_pending(call.record, call.file, &call.group, call.start_ns);
    }
}

#[inline(always)]
fn end_group(cell: u32, group: &Pending, now: u64) {
    let Some(stats) = WRITE_STATS.get_ptr_mut(cell) else { return };
    // SAFETY: as in `add_sync`.
    let stats = unsafe { &mut *stats };
    raise_one(&mut stats.group_writes_slots, size_slot(group.writes), 1);
    raise_one(&mut stats.group_bytes_slots, size_slot(group.bytes), 1);
    if group.writes != 0 {
        raise(&mut stats.group_writes, group.writes);
        raise(&mut stats.group_bytes, group.bytes);
    }
    if group.writes != 0 && group.first_ns == 0 {
        lost(Lost::GroupRace);
    }
    if group.first_ns != 0 {
        raise(&mut stats.flush_sum_ns, now - group.first_ns);
        raise_one(&mut stats.flush_slots, latency_slot(now - group.first_ns), 1);
    }
}

#[inline(always)]
fn count_error(cell: u32, op: u8, ret: i64) {
    count(&ERRORS, &ErrorKey { cell, op: u16::from(op), errno: (-ret) as u16 }, Lost::ErrorsFull);
}
