//! Where a sync call's time goes: from the scheduler's events of its thread, from the function in which that waits, and from the I/O
//! of its file. What is charged up to an event is all that has passed since the one before, so that the parts add up to the whole.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_stack;
use stemedb_ebpf::phases::{
    MAX_FRAMES, MAX_SYNCERS, Partition, Parts, Phase, SYNCER_PROBES, Syncers, add_up, site, state,
};
use stemedb_ebpf::tables::bucket_of;
use stemedb_ebpf::{CARRIED_OUT_BY_NOBODY, Inflight, InflightKey, Lost};

use super::activity;
use super::atomic;
use super::disk::now;
use super::file::File;
use super::maps::{PARTITIONS, SYNCERS, WAIT_FUNCTIONS, lost, offset, setting};
use super::read::{self, Addr};
use super::task;

const MASK: u32 = MAX_SYNCERS as u32 - 1;

/// The first place of a call.
#[inline(always)]
fn place(id: u64) -> u32 {
    bucket_of(id as u32, MAX_SYNCERS as u32)
}

#[inline(always)]
fn syncers() -> Option<*mut Syncers> {
    SYNCERS.get_ptr_mut(0)
}

/// Whether any call is in flight.
#[inline(always)]
pub fn any() -> bool {
    // SAFETY: a number that is read at once.
    syncers().is_some_and(|all| unsafe { (&raw const (*all).in_flight).read_volatile() } != 0)
}

/// The place of a call, from 1 on; 0 for what has none.
#[inline(always)]
pub fn of(id: u64) -> u32 {
    let Some(all) = syncers() else { return 0 };
    if id == 0 {
        return 0;
    }
    let first = place(id);
    for probe in 0..SYNCER_PROBES {
        let at = (first + probe) & MASK;
        // SAFETY: in bounds by the mask; a number that is read at once.
        if unsafe { (&raw const (*all).ids[at as usize]).read_volatile() } == id {
            return at + 1;
        }
    }
    0
}

#[inline(always)]
fn at(place: u32) -> Option<&'static mut Partition> {
    if place == 0 {
        return None;
    }
    // SAFETY: see `Partition`.
    unsafe { PARTITIONS.get_ptr_mut(place - 1)?.as_mut() }
}

/// The activity of the file, and that of the journal, that the call at a place may wait for.
#[inline(always)]
pub fn waits_for(place: u32) -> (u32, u32) {
    at(place).map_or((0, 0), |call| {
        find_activities(call);
        (call.file, call.journal)
    })
}

/// The call uses the activities of its file and of its journal from here on. Not before it submits something or waits: a sync that finds
/// nothing to do does neither.
#[inline(always)]
fn find_activities(call: &mut Partition) {
    if call.wants == 0 {
        return;
    }
    call.file = activity::activity_enter(call.wants) as u32;
    call.journal = if call.dev == 0 { 0 } else { activity::activity_enter(u64::from(call.dev)) as u32 };
    call.wants = 0;
}

/// Takes a place for a call that is about to begin. Nothing is charged to it until [`begin`].
#[inline(always)]
pub fn reserve(call: &mut Inflight, key: InflightKey, is_request: bool, thread: u64, file: &File) {
    let Some(all) = syncers() else { return };
    let id = if is_request { key.id } else { thread & 0xffff_ffff };
    let taken = take(all, id);
    let Some(new) = at(taken) else {
        lost(Lost::SyncersFull);
        return;
    };
    call.partition = taken;
    if is_request {
        // SAFETY: an atomic on a map value.
        unsafe { atomic::add(&raw mut (*all).requests, 1) }
        call.flags |= CARRIED_OUT_BY_NOBODY;
    }
    // SAFETY: of a reference; events of the scheduler look at this first.
    unsafe { (&raw mut new.state).write_volatile(state::CLOSED) }
    new.parts = [0; _];
    new.sites = site::DATA | site::NOBODY;
    new.about_to = 0;
    new.thread = thread;
    (new.open_file, new.inode) = (file.at, file.inode);
    // What has no file, or several, knows of what it submits by itself.
    new.wants = if new.inode == 0 { id | 1 << 40 } else { new.inode };
    new.dev = call.dev;
    (new.file, new.journal) = (0, 0);
    if is_request {
        find_activities(new);
    }
}

#[inline(always)]
fn take(all: *mut Syncers, id: u64) -> u32 {
    let first = place(id);
    for probe in 0..SYNCER_PROBES {
        let at = (first + probe) & MASK;
        // SAFETY: in bounds by the mask; an atomic on a map value. What has changed it from zero has the place.
        unsafe {
            if atomic::set_if_zero(&raw mut (*all).ids[at as usize], id) == 0 {
                atomic::add(&raw mut (*all).in_flight, 1);
                return at + 1;
            }
        }
    }
    0
}

/// The call has begun: a thread's own on a processor; a request waits for somebody to carry it out.
#[inline(always)]
pub fn begin(call: &Inflight, is_request: bool) {
    let (Some(all), Some(partition)) = (syncers(), at(call.partition)) else { return };
    // SAFETY: a number that is read at once.
    if unsafe { (&raw const (*all).on).read_volatile() } == 0 {
        return;
    }
    partition.last_ns = call.start_ns;
    let first = if is_request {
        partition.seen = activity::seen(partition.file, partition.journal);
        state::BLOCKED
    } else {
        state::RUNS
    };
    // SAFETY: as in `reserve`.
    unsafe { (&raw mut partition.state).write_volatile(first) }
}

/// The thread that asked for the call at a place, and the file and the inode that it makes durable; of one without a place, the current
/// thread.
#[inline(always)]
pub fn about(place: u32) -> (u64, Addr, Addr) {
    at(place).map_or((bpf_get_current_pid_tgid(), 0, 0), |call| (call.thread, call.open_file, call.inode))
}

/// Whether there are requests of which it is not known who carries them out.
#[inline(always)]
pub fn any_request() -> bool {
    // SAFETY: a number that is read at once.
    syncers().is_some_and(|all| unsafe { (&raw const (*all).requests).read_volatile() } != 0)
}

/// The current thread carries out a request: what it does from here on is what the request's time goes on.
#[inline(always)]
pub fn carry_out(call: &mut Inflight) {
    let Some(all) = syncers() else { return };
    let was = call.partition;
    let Some(old) = at(was) else { return };
    if call.flags & CARRIED_OUT_BY_NOBODY == 0 || old.state == state::CLOSED {
        return;
    }
    let taken = take(all, u64::from(task::thread()));
    let Some(new) = at(taken) else { return };
    charge(was, old, now());
    new.last_ns = old.last_ns;
    new.parts = old.parts;
    new.about_to = 0;
    new.wants = 0;
    new.file = old.file;
    new.journal = old.journal;
    (new.thread, new.open_file, new.inode) = (old.thread, old.open_file, old.inode);
    // Its file and its journal are the new one's from here on.
    old.file = 0;
    old.journal = 0;
    call.partition = taken;
    call.flags &= !CARRIED_OUT_BY_NOBODY;
    // SAFETY: an atomic on a map value.
    unsafe { atomic::add(&raw mut (*all).requests, u64::MAX) }
    phases_release(u64::from(was));
    // SAFETY: as in `reserve`.
    unsafe { (&raw mut new.state).write_volatile(state::RUNS) }
}

/// Gives back what a call has here.
#[inline(always)]
pub fn leave(call: &Inflight) {
    if call.flags & CARRIED_OUT_BY_NOBODY != 0
        && let Some(all) = syncers()
    {
        // SAFETY: as above.
        unsafe { atomic::add(&raw mut (*all).requests, u64::MAX) }
    }
    phases_release(u64::from(call.partition));
}

/// Charges what has passed up to now, when a call ends; returns when it has ended.
#[inline(always)]
pub fn close(place: u32, start_ns: u64) -> u64 {
    if place == 0 { now() } else { phases_close(u64::from(place), start_ns) }
}

/// The same for one that has a place.
///
/// A global function, as in [`activity`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn phases_close(place: u64, start_ns: u64) -> u64 {
    let place = place as u32;
    let now = now();
    let Some(partition) = at(place) else { return now };
    if partition.state == state::CLOSED {
        partition.sites = site::UNDIVIDED;
        return now;
    }
    // A clock that has been read on another processor may be some nanoseconds ahead.
    let now = if partition.last_ns > now { partition.last_ns } else { now };
    charge(place, partition, now);
    partition.sites = 0;
    // SAFETY: as in `reserve`.
    unsafe { (&raw mut partition.state).write_volatile(state::CLOSED) }
    let mut spent = partition.parts;
    add_up(&mut spent, now - start_ns);
    partition.spent = spent;
    now
}

/// On what the time of a call went that has ended, if that is known.
#[inline(always)]
pub fn parts(place: u32) -> Option<&'static Parts> {
    let partition = at(place)?;
    if partition.sites == site::UNDIVIDED { None } else { Some(&partition.spent) }
}

/// Gives the place of a call free. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn phases_release(place: u64) -> u64 {
    release(place as u32);
    0
}

#[inline(always)]
fn release(place: u32) {
    let (Some(all), Some(partition)) = (syncers(), at(place)) else { return };
    // SAFETY: in bounds by the mask; atomics on a map value.
    unsafe {
        (&raw mut partition.state).write_volatile(state::CLOSED);
        activity::leave(partition.file);
        activity::leave(partition.journal);
        (&raw mut (*all).ids[((place - 1) & MASK) as usize]).write_volatile(0);
        atomic::add(&raw mut (*all).in_flight, u64::MAX);
    }
}

/// Its thread leaves the processor: blocked, or still runnable.
#[inline(always)]
pub fn switched_out(place: u32, blocked: bool, ctx: &impl EbpfContext) {
    let Some(partition) = at(place) else { return };
    if partition.state == state::CLOSED {
        return;
    }
    charge(place, partition, now());
    if blocked {
        find_activities(partition);
        // Looking at the stack takes ten times as long as all the rest.
        let told = told(partition);
        partition.sites = if told != 0 { told } else { sites(ctx) };
        partition.about_to = 0;
        if partition.sites & (site::DATA | site::JOURNAL) != 0 {
            partition.seen = activity::seen(partition.file, partition.journal);
        }
        partition.state = state::BLOCKED;
    } else {
        partition.state = state::RUNNABLE;
    }
}

/// The current thread is about to wait for pages of an inode to be written. Where these are of another file than the call's, the stack
/// tells more: the log of btrfs, say.
#[inline(always)]
pub fn waits_for_pages(place: u32, inode: Addr, folio: Addr) {
    if let Some(partition) = at(place)
        && partition.inode == inode
    {
        partition.about_to = site::DATA;
        partition.folio = folio;
    }
}

/// The current thread has submitted a flush, and is about to wait for it.
#[inline(always)]
pub fn waits_for_flush(place: u32) {
    // SAFETY: a number that is read at once.
    let is_told = syncers().is_some_and(|all| unsafe { (&raw const (*all).told).read_volatile() } != 0);
    if let (true, Some(partition)) = (is_told, at(place)) {
        partition.about_to = site::FLUSH;
        partition.folio = 0;
    }
}

/// For what the thread waits, as it was told, if that is still to come: where it was over before the thread could block, it
/// blocks for something else.
#[inline(always)]
fn told(partition: &Partition) -> u32 {
    let is_to_come = match partition.about_to {
        0 => false,
        site::FLUSH => activity::is_flushing(partition.journal),
        _ => {
            let flags: u64 = read::at(partition.folio, offset!(folio_flags)).unwrap_or(0);
            flags >> (setting!(folio_writeback_bit) & 63) & 1 != 0
        }
    };
    if is_to_come { partition.about_to } else { 0 }
}

/// Its thread may run again, and waits for a processor.
#[inline(always)]
pub fn woken(place: u32) {
    let Some(partition) = at(place) else { return };
    if partition.state == state::BLOCKED {
        charge(place, partition, now());
        partition.state = state::RUNNABLE;
    }
}

/// Its thread is on a processor.
#[inline(always)]
pub fn switched_in(place: u32) {
    let Some(partition) = at(place) else { return };
    if partition.state != state::CLOSED {
        charge(place, partition, now());
        partition.state = state::RUNS;
    }
}

#[inline(always)]
fn charge(place: u32, partition: &mut Partition, now: u64) {
    let was = partition.last_ns;
    if now <= was {
        return;
    }
    partition.last_ns = now;
    match partition.state {
        state::RUNS => partition.parts[Phase::Cpu as usize] += now - was,
        state::RUNNABLE => partition.parts[Phase::Runqueue as usize] += now - was,
        _ => {
            charge_blocked(u64::from(place), now - was);
        }
    }
}

/// Charges blocked time: to what the I/O of its file tells where it waits for that, else to what the function tells.
///
/// A global function, as in [`activity`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn charge_blocked(place: u64, ns: u64) -> u64 {
    let Some(partition) = at(place as u32) else { return 0 };
    let sites = partition.sites;
    let mut left = ns;
    if sites & site::FLUSH != 0 {
        partition.parts[Phase::Flush as usize] += left;
        left = 0;
    } else if sites & site::JOURNAL != 0 {
        if let Some(now) = activity::read(partition.journal) {
            let flush = some_of(now.flush_ns, partition.seen.journal_flush_ns, &mut left);
            partition.parts[Phase::Flush as usize] += flush;
        }
        partition.parts[Phase::Journal as usize] += left;
        left = 0;
    } else if sites & site::QUEUE != 0 {
        partition.parts[Phase::Queue as usize] += left;
        left = 0;
    } else if sites & site::DATA != 0
        && let Some(now) = activity::read(partition.file)
    {
        let seen = &partition.seen;
        let device = some_of(now.device_ns, seen.device_ns, &mut left);
        let flush = some_of(now.flush_ns, seen.flush_ns, &mut left);
        let queue = some_of(now.queue_ns, seen.queue_ns, &mut left);
        // Until its first request came, its data was on the way to the block layer.
        let late = if sites & site::NOBODY == 0 { some_of(now.late_ns, seen.idle_ns, &mut left) } else { 0 };
        partition.parts[Phase::Device as usize] += device;
        partition.parts[Phase::Flush as usize] += flush;
        partition.parts[Phase::Queue as usize] += queue + late;
    }
    partition.parts[Phase::Other as usize] += left;
    0
}

/// What has been added to a sum, but no more than is left; that is less for it.
#[inline(always)]
fn some_of(now: u64, seen: u64, left: &mut u64) -> u64 {
    // Read while another processor adds to it, a sum may be behind by some nanoseconds.
    let more = now.wrapping_sub(seen);
    let more = if more as i64 <= 0 { 0 } else { more };
    let more = if more > *left { *left } else { more };
    *left -= more;
    more
}

/// For what the current thread waits, as the functions tell that it is in.
#[inline(always)]
fn sites(ctx: &impl EbpfContext) -> u32 {
    let mut frames = [0_u64; MAX_FRAMES];
    // SAFETY: the helper writes into the buffer, whose size it is told.
    let bytes =
        unsafe { bpf_get_stack(ctx.as_ptr(), frames.as_mut_ptr().cast(), size_of::<[u64; MAX_FRAMES]>() as u32, 0) };
    let mut sites = 0;
    for (n, frame) in frames.iter().enumerate() {
        if (n as i64) * 8 >= bytes {
            break;
        }
        sites |= wait_site(*frame) as u32;
    }
    sites
}

/// What the function at an address waits for. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn wait_site(address: u64) -> u64 {
    WAIT_FUNCTIONS.get(0).map_or(0, |functions| u64::from(functions.site_of(address)))
}
