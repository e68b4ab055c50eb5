//! Every map and every global. Sizes that depend on the configuration are set by the agent before load.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use stemedb_ebpf::disk::{
    DISK_BUCKETS, DiskCounts, DiskErrorKey, DiskRequest, EndFunctions, FileErrorKey, FlushKey, FlushStats,
    LatencyStats, MAX_DISK_ERRORS, MAX_JOURNALS, MAX_REQUESTS, MAX_WAITS, REQUEST_BUCKETS, Waits,
};
use stemedb_ebpf::files::{FILE_BUCKETS, FileRecord, MAX_FILES};
use stemedb_ebpf::offsets::Offsets;
use stemedb_ebpf::ops::NO_OP;
use stemedb_ebpf::phases::{
    Activity, MAX_ACTIVITIES, MAX_SYNCERS, Partition, SLOW_PATH, SlowCall, Syncers, WaitFunctions,
};
use stemedb_ebpf::tables::{DIR_BUCKETS, Dirs, Ids, PROCESS_BUCKETS, Processes, WAYS};
use stemedb_ebpf::{
    ChildEntry, ChildKey, ClassRule, ErrorKey, Event, INFLIGHT_BUCKETS, Inflight, LOST, Lost, MAX_AIO_SYNCS,
    MAX_CGROUPS, MAX_CLASS_RULES, MAX_DIRS, MAX_ERRORS, MAX_INFLIGHT, MAX_PROCESS_RULES, MAX_SYSCALLS, MAX_URING_OPS,
    MappedStats, ProcessRule, Resolved, Settings, SyncStats, TargetEntry, WriteStats,
};

/// `BPF_F_MMAPABLE` (include/uapi/linux/bpf.h, from 5.5): the agent changes it by the same atomic operations.
const SHARED: u32 = 1 << 10;

/// Processes that are watched, each one number.
#[map]
pub static TARGETS: Array<Processes> = Array::with_max_entries(PROCESS_BUCKETS, SHARED);

/// Cgroups whose processes are watched, by cgroup id.
#[map]
pub static CGROUPS: HashMap<u64, TargetEntry> = HashMap::with_max_entries(MAX_CGROUPS, 0);

/// Rules by which an exec, a rename or a new cgroup makes a target.
#[map]
pub static PROCESS_RULES: Array<ProcessRule> = Array::with_max_entries(MAX_PROCESS_RULES as u32, 0);

/// Class directories that exist.
#[map]
pub static DIRS: Array<Dirs> = Array::with_max_entries(DIR_BUCKETS, SHARED);

/// Class directories by parent and name.
#[map]
pub static CHILDREN: HashMap<ChildKey, ChildEntry> = HashMap::with_max_entries(MAX_DIRS, 0);

/// Rules by which a file's name gives its class.
#[map]
pub static CLASS_RULES: Array<ClassRule> = Array::with_max_entries(MAX_CLASS_RULES as u32, 0);

/// By what calls and requests are known that have begun and not ended.
#[map]
pub static INFLIGHT_IDS: Array<Ids> = Array::with_max_entries(INFLIGHT_BUCKETS, SHARED);

/// What is kept of them.
#[map]
pub static INFLIGHT: Array<Inflight> = Array::with_max_entries(MAX_INFLIGHT, SHARED);

/// By what files are known that targets write.
#[map]
pub static FILE_IDS: Array<Ids> = Array::with_max_entries(FILE_BUCKETS, SHARED);

/// What is known of them.
#[map]
pub static FILES: Array<FileRecord> = Array::with_max_entries(MAX_FILES, SHARED);

/// Index: `cell * SYNC_CELL + op`.
#[map]
pub static SYNC_STATS: PerCpuArray<SyncStats> = PerCpuArray::with_max_entries(1, 0);

/// Index: cell.
#[map]
pub static WRITE_STATS: PerCpuArray<WriteStats> = PerCpuArray::with_max_entries(1, 0);

/// Index: cell.
#[map]
pub static MAPPED_STATS: PerCpuArray<MappedStats> = PerCpuArray::with_max_entries(1, 0);

/// Requests of libaio for an fsync that kernel threads work on, by the thread's id.
#[map]
pub static AIO_SYNCS: HashMap<u32, u64> = HashMap::with_max_entries(MAX_AIO_SYNCS, 0);

/// Failed calls.
#[map]
pub static ERRORS: HashMap<ErrorKey, u64> = HashMap::with_max_entries(MAX_ERRORS, 0);

/// By what block requests are known that have begun and not ended.
#[map]
pub static REQUEST_IDS: Array<Ids> = Array::with_max_entries(REQUEST_BUCKETS, SHARED);

/// What is kept of them.
#[map]
pub static REQUESTS: Array<DiskRequest> = Array::with_max_entries(MAX_REQUESTS, 0);

/// Under what block requests that have ended are counted: [`stemedb_ebpf::disk::DiskKey::word`].
#[map]
pub static DISK_CELLS: Array<Ids> = Array::with_max_entries(DISK_BUCKETS, SHARED);

/// Their counts.
#[map]
pub static DISK_COUNTS: PerCpuArray<DiskCounts> = PerCpuArray::with_max_entries(DISK_BUCKETS * WAYS, 0);

/// Under what their latencies are counted: [`stemedb_ebpf::disk::LatencyKey::word`].
#[map]
pub static LATENCY_CELLS: Array<Ids> = Array::with_max_entries(1, SHARED);

/// Their latencies.
#[map]
pub static DISK_LATENCIES: PerCpuArray<LatencyStats> = PerCpuArray::with_max_entries(1, 0);

/// The flushes that they asked for.
#[map]
pub static DISK_FLUSHES: PerCpuHashMap<FlushKey, FlushStats> = PerCpuHashMap::with_max_entries(1, 0);

/// Those that failed.
#[map]
pub static DISK_ERRORS: HashMap<DiskErrorKey, u64> = HashMap::with_max_entries(MAX_DISK_ERRORS, 0);

/// Errors that the kernel recorded against files.
#[map]
pub static FILE_ERRORS: HashMap<FileErrorKey, u64> = HashMap::with_max_entries(MAX_DISK_ERRORS, 0);

/// Functions that end bios and buffers. One value.
#[map]
pub static END_FUNCTIONS: Array<EndFunctions> = Array::with_max_entries(1, 0);

/// The buffer of the superblock of a journal that a thread is about to write, by the thread's id.
#[map]
pub static JOURNALS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(MAX_JOURNALS, 0);

/// How many sync calls are in flight on each file system.
#[map]
pub static WAITS: Array<Waits> = Array::with_max_entries(MAX_WAITS, SHARED);

/// What new entries of the maps of histograms are copied from: too large for the stack.
#[map]
pub static NO_LATENCIES: Array<LatencyStats> = Array::with_max_entries(1, 0);

/// Sync calls in flight. One value.
#[map]
pub static SYNCERS: Array<Syncers> = Array::with_max_entries(1, 0);

/// Where their time has gone so far; the index is that of [`Syncers::ids`].
#[map]
pub static PARTITIONS: Array<Partition> = Array::with_max_entries(MAX_SYNCERS as u32, 0);

/// The I/O that they may wait for; see [`stemedb_ebpf::phases::Activity`].
#[map]
pub static ACTIVITIES: Array<Activity> = Array::with_max_entries(MAX_ACTIVITIES, 0);

/// Functions in which a thread waits for something that is known.
#[map]
pub static WAIT_FUNCTIONS: Array<WaitFunctions> = Array::with_max_entries(1, 0);

/// From how many nanoseconds on a call is a slow one.
#[map]
pub static SLOW_NS: Array<u64> = Array::with_max_entries(1, 0);

/// Slow calls.
#[map]
pub static SLOW: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Room for one of them.
#[map]
pub static SLOW_SCRATCH: PerCpuArray<SlowScratch> = PerCpuArray::with_max_entries(1, 0);

/// See [`SLOW_SCRATCH`].
#[repr(C)]
pub struct SlowScratch {
    pub call: SlowCall,
    pub path: [u8; SLOW_PATH],
    /// Whether a call is in it: a program may be preempted, and the next one on this processor have a slow call as well.
    pub busy: u64,
}

/// What is missing from the figures, by [`Lost`].
#[map]
pub static LOST_COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOST.len() as u32, 0);

/// Processes that came and went.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// The answer of the program `resolve`.
#[map]
pub static RESOLVED: Array<Resolved> = Array::with_max_entries(1, 0);

/// Room for one path or name while a rule looks at it.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// See [`SCRATCH`].
#[repr(C)]
pub struct Scratch {
    /// A path is built from the end of the first [`PATH_MAX`] bytes; the rest lets the verifier see
    /// that no name of up to 255 bytes can pass the end.
    pub path: [u8; PATH_MAX + 256],
    /// How often rules have used it. They run where nothing preempts them, but may come in the middle of a slow call.
    pub rules: u64,
}

/// Longest path that a rule can look at.
pub const PATH_MAX: usize = 1_024;

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::NONE;

#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings {
    op_of_syscall: [NO_OP; MAX_SYSCALLS],
    op_of_uring: [NO_OP; MAX_URING_OPS],
    classes: 1,
    process_rules: 0,
    class_rules: 0,
    exe_paths: 0,
    find_vma: 0,
    typed: 0,
    uring_result: 0,
    folio_head_bit: 0,
    page_shift: 12,
    preflush_bit: 0,
    fua_bit: 0,
    flush_sequence_bit: 0,
    requests_start: 0,
    status_is_errno: 0,
    targets: 0,
    latency_buckets: 1,
    switch_state: 0,
    workers: 0,
    cast_type: 0,
    paths: 0,
    swap_flag: 0,
    folio_writeback_bit: 0,
    named_directories: [0; _],
};

/// A field of [`Settings`].
macro_rules! setting {
    ($field:ident $([$place:literal])?) => {
        $crate::kernel::maps::volatile(&$crate::kernel::maps::settings().$field $([$place])?)
    };
}
/// A field of [`Offsets`], as `usize`.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::maps::volatile(&$crate::kernel::maps::offsets().$field) as usize
    };
}
pub(crate) use {offset, setting};

/// Reads a field of a `.rodata` global. The compiler would fold the value that the agent replaces, so it must not see
/// it; the verifier folds the replaced one.
#[inline(always)]
pub fn volatile<T: Copy>(field: &'static T) -> T {
    // SAFETY: a reference is aligned and readable.
    unsafe { core::ptr::read_volatile(field) }
}

#[inline(always)]
pub fn offsets() -> &'static Offsets {
    &OFFSETS
}

#[inline(always)]
pub fn settings() -> &'static Settings {
    &SETTINGS
}

/// What a system-call number means: an operation or [`NO_OP`], with [`COMPAT`](stemedb_ebpf::ops::COMPAT) where that applies.
#[inline(always)]
pub fn op_of_syscall(nr: u64) -> u8 {
    if nr >= MAX_SYSCALLS as u64 {
        return NO_OP;
    }
    // SAFETY: in bounds by the mask, which the compiler must not drop: the verifier cannot see the
    // comparison above through a spilled register.
    unsafe {
        core::ptr::read_volatile((&raw const SETTINGS.op_of_syscall).cast::<u8>().add(nr as usize & (MAX_SYSCALLS - 1)))
    }
}

/// What an io_uring opcode means: an operation or [`NO_OP`].
#[inline(always)]
pub fn op_of_uring(opcode: u8) -> u8 {
    if opcode as usize >= MAX_URING_OPS {
        return NO_OP;
    }
    // SAFETY: in bounds, as above.
    unsafe {
        core::ptr::read_volatile(
            (&raw const SETTINGS.op_of_uring).cast::<u8>().add(opcode as usize & (MAX_URING_OPS - 1)),
        )
    }
}

/// The number that all processors share under a key, from zero on; `None` where there is no room for it.
#[inline(always)]
pub fn shared<K>(map: &HashMap<K, u64>, key: &K) -> Option<*mut u64> {
    const BPF_NOEXIST: u64 = 1;
    if let Some(found) = map.get_ptr_mut(key) {
        return Some(found);
    }
    // Another processor may have been faster, or there may be no room: the look-up tells.
    let _ = map.insert(key, &0, BPF_NOEXIST);
    map.get_ptr_mut(key)
}

/// Adds one to such a number; without room, it is lost for a reason.
#[inline(always)]
pub fn count<K>(map: &HashMap<K, u64>, key: &K, full: Lost) {
    match shared(map, key) {
        // SAFETY: an atomic on a map value.
        Some(count) => unsafe { super::atomic::add(count, 1) },
        None => lost(full),
    }
}

/// Whether the verifier of this kernel knows what of two states is of no importance (from 6.4 or so; `bpf_rdonly_cast` came shortly before).
/// Others follow every way out of a loop through all that comes after it, so that a look-up has to be a function that they look at by itself.
#[inline(always)]
pub fn is_patient() -> bool {
    setting!(cast_type) != 0
}

/// Adds one at a place of an array that is this processor's own.
#[inline(always)]
pub fn add<const N: usize>(counts: &mut [u64; N], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        *count += 1;
    }
}

/// Adds to a figure of this processor's own. By an atomic instruction all the same: a trampoline's program can be preempted where the
/// kernel can (`__bpf_prog_enter_recur` in kernel/bpf/trampoline.c keeps it on its processor, no more), and a request may be completed by an
/// interrupt: another program that comes between the load and the store would have counted for nothing.
#[inline(always)]
pub fn raise(figure: &mut u64, n: u64) {
    // SAFETY: part of a map value, and aligned.
    unsafe { super::atomic::add(figure, n) }
}

/// The same for one of several.
#[inline(always)]
pub fn raise_one<const N: usize>(figures: &mut [u64; N], index: usize, n: u64) {
    if let Some(figure) = figures.get_mut(index) {
        raise(figure, n);
    }
}

/// Makes a figure at least as high, likewise. What two programs raise in the very same moment is as high as the one or the other.
#[inline(always)]
pub fn raise_to(figure: &mut u64, n: u64) {
    for _ in 0..2 {
        let was = *figure;
        // SAFETY: part of a map value, and aligned.
        if n <= was || unsafe { super::atomic::replace(figure, was, n) } == was {
            return;
        }
    }
}

/// Counts something that is missing from the figures.
#[inline(always)]
pub fn lost(reason: Lost) {
    lost_many(reason, 1);
}

/// Counts several things that are missing.
#[inline(always)]
pub fn lost_many(reason: Lost, n: u64) {
    if let Some(count) = LOST_COUNTS.get_ptr_mut(reason as u32) {
        // SAFETY: an atomic on a map value: another program may interrupt this one on its processor.
        unsafe { super::atomic::add(count, n) }
    }
}

/// Tells the agent about a process.
#[inline(always)]
pub fn tell(kind: stemedb_ebpf::EventKind, tgid: u32, target: u32) {
    let event = Event { kind: kind as u32, tgid, target, zero: 0 };
    if EVENTS.output::<Event>(&event, 0).is_err() {
        lost(Lost::EventsFull);
    }
}
