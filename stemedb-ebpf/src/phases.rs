//! Where the time of a sync call goes: what is kept of each call that is in flight, of the I/O of the files that they wait for, and
//! what a slow call is told by. Every type is `repr(C)` and without padding.

/// Sync calls and requests whose time is divided at once.
pub const MAX_SYNCERS: usize = 4_096;
/// Places, one after the other, of which a call takes the first that is free.
pub const SYNCER_PROBES: u32 = 8;
/// Files and file systems whose I/O is followed at once.
pub const MAX_ACTIVITIES: u32 = 8_192;
/// Places, one after the other, of which a file takes the first that is free.
pub const ACTIVITY_PROBES: u32 = 8;
/// Functions of the kernel in which a thread may wait for something that is known.
pub const MAX_WAIT_FUNCTIONS: usize = 64;
/// Callers that are looked at, from the scheduler upwards, for one of these functions.
pub const MAX_FRAMES: usize = 24;

labels! {
    /// What a sync call's time is spent on. Blocked time is charged at each instant to the first of these that is known.
    Phase, PHASES:
    /// On a processor.
    Cpu = 0, "cpu";
    /// Runnable, and waiting for a processor.
    Runqueue = 1, "runqueue";
    /// Blocked: a cache flush for it is under way.
    Flush = 2, "flush";
    /// Blocked: it waits for the file system's journal or log.
    Journal = 3, "journal";
    /// Blocked: its data is at the device.
    Device = 4, "device";
    /// Blocked: its data waits in the block layer.
    Queue = 5, "queue";
    /// Blocked: locks and the rest.
    Other = 6, "other";
}

/// What each phase means, in the order of [`PHASES`].
pub const MEANINGS: [&str; PHASES.len()] = [
    "on a processor",
    "runnable, waiting for a processor",
    "blocked while a flush of the device's cache for it is under way",
    "blocked until the file system's journal or log is written",
    "blocked while its data is at the device",
    "blocked while its data waits in the block layer",
    "blocked on locks and everything else",
];

/// Time by [`Phase`], in nanoseconds.
pub type Parts = [u64; PHASES.len()];

/// Makes parts of a whole add up to it. They do, but for a request that ends in the very moment at which the thread that carries it out
/// is charged: what is missing is not known, and what is too much is taken from what is not known first.
#[inline(always)]
pub fn add_up(parts: &mut Parts, whole: u64) {
    const LAST_FIRST: [usize; PHASES.len()] = [6, 0, 1, 5, 4, 3, 2];
    let mut left = whole;
    for part in *parts {
        left = left.wrapping_sub(part);
    }
    if left <= whole {
        parts[Phase::Other as usize] += left;
        return;
    }
    let mut excess = 0_u64.wrapping_sub(left);
    for n in LAST_FIRST {
        let less = if parts[n] < excess { parts[n] } else { excess };
        parts[n] -= less;
        excess -= less;
    }
}

/// What a thread is doing that has a call in flight.
pub mod state {
    /// Nothing is charged: the call has not begun yet, or has ended.
    pub const CLOSED: u32 = 0;
    /// It is on a processor.
    pub const RUNS: u32 = 1;
    /// It waits for one.
    pub const RUNNABLE: u32 = 2;
    /// It is blocked, or nobody is known to carry it out.
    pub const BLOCKED: u32 = 3;
}

/// In which function a thread waits: bits of [`Partition::sites`].
pub mod site {
    /// For data of files.
    pub const DATA: u32 = 1;
    /// To get a request, or for a throttle of the block layer.
    pub const QUEUE: u32 = 2;
    /// For the journal or the log.
    pub const JOURNAL: u32 = 4;
    /// For a flush of its own.
    pub const FLUSH: u32 = 8;
    /// It is a request, and nobody is known to carry it out: what of its data is in flight counts, and nothing else.
    pub const NOBODY: u32 = 16;
    /// The call has ended, and where its time went is not known.
    pub const UNDIVIDED: u32 = 32;
}

/// The calls in flight by who carries them out: a thread's id or a request's address. A call's place here is also that of its
/// [`Partition`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Syncers {
    /// How many there are: a switch of threads looks at nothing else while there is none.
    pub in_flight: u64,
    /// How many of these are requests, of which it is not known yet who carries them out.
    pub requests: u64,
    /// Not zero when the scheduler's events are seen.
    pub on: u64,
    /// Not zero when it is known for what threads wait.
    pub told: u64,
    /// 0 where the place is free.
    pub ids: [u64; MAX_SYNCERS],
}

/// Where the time of one call has gone so far. Only events of the thread that carries it out change it, and these cannot happen at
/// the same time; but a request may be ended by another thread than that which carries it out, in the same moment.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Partition {
    /// Up to when it is charged.
    pub last_ns: u64,
    /// What is charged.
    pub parts: Parts,
    /// The same when it has ended: together exactly as long as it took.
    pub spent: Parts,
    /// [`state`]
    pub state: u32,
    /// [`site`]
    pub sites: u32,
    /// The I/O of its file: the place of an [`Activity`] from 1 on; 0 when that is not followed.
    pub file: u32,
    /// The I/O of the journal of its file system, likewise.
    pub journal: u32,
    /// What its file's activity was when it was last charged.
    pub seen: Seen,
    /// The thread that asked for it: its process in the upper half, itself in the lower.
    pub thread: u64,
    /// Address of the `struct file` that it makes durable; 0 when there is none.
    pub open_file: u64,
    /// Address of that file's inode.
    pub inode: u64,
    /// For what the thread is about to wait: the [`site`]s of the next time that it blocks, where that has been told; else 0.
    pub about_to: u32,
    /// The device whose journal it may wait for; 0 when there is none.
    pub dev: u32,
    /// By what the I/O of its file is known, until [`Partition::file`] and [`Partition::journal`] have been looked for.
    pub wants: u64,
    /// Address of the folio that it waits for then; 0 for a flush.
    pub folio: u64,
}

/// Sums of an [`Activity`] at one moment.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// [`Activity::queue_ns`]
    pub queue_ns: u64,
    /// [`Activity::device_ns`]
    pub device_ns: u64,
    /// [`Activity::flush_ns`]
    pub flush_ns: u64,
    /// [`Activity::idle_ns`]
    pub idle_ns: u64,
    /// [`Activity::flush_ns`] of the journal
    pub journal_flush_ns: u64,
}

/// What of a file's I/O is in flight, and for how long it has been so. All requests of a file and all its sync calls share one. Sums
/// only grow, so that any number of calls can take their share by two readings.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// The lower 48 bits of what it is known by, above the number of requests and calls that use it. One that nobody uses is free.
    pub word: u64,
    /// Up to when the sums are counted.
    pub last_ns: u64,
    /// Four numbers of requests; see [`part`].
    pub counts: u64,
    /// Time with a request in the block layer, and none at the device or flushing.
    pub queue_ns: u64,
    /// Time with a request at the device, and none flushing.
    pub device_ns: u64,
    /// Time with a request that waits for a flush.
    pub flush_ns: u64,
    /// Time with none of these.
    pub idle_ns: u64,
    /// What [`Activity::idle_ns`] was when the last such time ended with a new request: until then, data has been on its way there.
    pub late_ns: u64,
}

/// What a request adds to [`Activity::counts`]: a number of 16 bits at this place, from 1 on.
pub mod part {
    /// Nothing.
    pub const NONE: u16 = 0;
    /// It waits in the block layer.
    pub const QUEUE: u16 = 1;
    /// It is at the device.
    pub const DEVICE: u16 = 2;
    /// It is a bio of a device that takes no requests: at the device, unless a request that comes of it is known to be elsewhere.
    pub const BIO: u16 = 3;
    /// It waits for a flush.
    pub const FLUSH: u16 = 4;
    /// It is there, and does not count.
    pub const HELD: u16 = 5;

    /// One request.
    #[inline(always)]
    #[must_use]
    pub const fn one(part: u16) -> u64 {
        if part == NONE || part == HELD { 0 } else { 1 << ((16 * (part as u32 - 1)) & 63) }
    }
}

/// What time with these requests counts as; [`Phase::Other`] for none.
#[inline(always)]
#[must_use]
pub const fn phase_of(counts: u64) -> Phase {
    const fn any(counts: u64, part: u16) -> bool {
        counts & (part::one(part) * 0xffff) != 0
    }
    if any(counts, part::FLUSH) {
        Phase::Flush
    } else if any(counts, part::DEVICE) {
        Phase::Device
    } else if any(counts, part::QUEUE) {
        Phase::Queue
    } else if any(counts, part::BIO) {
        Phase::Device
    } else {
        Phase::Other
    }
}

/// Functions of the kernel by their addresses, in the order of these.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WaitFunctions {
    /// Where each begins; [`u64::MAX`] behind the last.
    pub begins: [u64; MAX_WAIT_FUNCTIONS],
    /// Where each ends.
    pub ends: [u64; MAX_WAIT_FUNCTIONS],
    /// [`site`]
    pub sites: [u32; MAX_WAIT_FUNCTIONS],
}

impl WaitFunctions {
    /// None.
    pub const NONE: Self =
        Self { begins: [u64::MAX; MAX_WAIT_FUNCTIONS], ends: [0; MAX_WAIT_FUNCTIONS], sites: [0; MAX_WAIT_FUNCTIONS] };

    /// What a thread waits for that is in the function at this address; 0 when nothing is known of it.
    #[inline(always)]
    #[must_use]
    pub fn site_of(&self, address: u64) -> u32 {
        const MASK: usize = MAX_WAIT_FUNCTIONS - 1;
        let mut first = 0_usize;
        let mut step = MAX_WAIT_FUNCTIONS / 2;
        while step != 0 {
            if self.begins[(first + step) & MASK] <= address {
                first += step;
            }
            step /= 2;
        }
        let first = first & MASK;
        if self.begins[first] <= address && address < self.ends[first] { self.sites[first] } else { 0 }
    }
}

/// The functions in which a thread waits for something that is known, with what that is; the names of 5.10 to 6.18. All are called
/// from other files than their own, so that the compiler cannot have put them into their callers; but one that ends with a call may have
/// given its place on the stack to that (`__wait_on_buffer`), so that its callers are here as well: mm/filemap.c, mm/page-writeback.c,
/// fs/buffer.c, fs/direct-io.c, fs/iomap/direct-io.c, fs/fs-writeback.c, block/, fs/jbd2/, fs/ext4/fast_commit.c, fs/xfs/, fs/btrfs/.
pub const WAIT_FUNCTIONS: &[(&str, u32)] = &[
    ("folio_wait_writeback", site::DATA),
    ("wait_on_page_writeback", site::DATA),
    ("__wait_on_buffer", site::DATA),
    ("__sync_dirty_buffer", site::DATA),
    ("sync_mapping_buffers", site::DATA),
    ("__bread_gfp", site::DATA),
    ("__bh_read", site::DATA),
    ("ext4_read_bh", site::DATA),
    ("ext4_wait_block_bitmap", site::DATA),
    ("__blockdev_direct_IO", site::DATA),
    ("__iomap_dio_rw", site::DATA),
    ("wb_wait_for_completion", site::DATA),
    ("submit_bio_wait", site::DATA),
    ("btrfs_start_ordered_extent", site::DATA),
    ("btrfs_start_ordered_extent_nowriteback", site::DATA),
    ("submit_bio_noacct", site::QUEUE),
    ("submit_bio", site::QUEUE),
    ("blk_mq_submit_bio", site::QUEUE),
    ("blk_mq_flush_plug_list", site::QUEUE),
    ("rq_qos_wait", site::QUEUE),
    ("jbd2_log_wait_commit", site::JOURNAL),
    ("jbd2_complete_transaction", site::JOURNAL),
    ("jbd2_journal_force_commit", site::JOURNAL),
    ("jbd2__journal_start", site::JOURNAL),
    ("jbd2__journal_restart", site::JOURNAL),
    ("jbd2_journal_start_reserved", site::JOURNAL),
    ("__jbd2_log_wait_for_space", site::JOURNAL),
    ("ext4_fc_commit", site::JOURNAL),
    ("xfs_log_force", site::JOURNAL),
    ("xfs_log_force_seq", site::JOURNAL),
    ("xlog_cil_force_seq", site::JOURNAL),
    ("xfs_log_reserve", site::JOURNAL),
    ("btrfs_sync_log", site::JOURNAL),
    ("btrfs_commit_transaction", site::JOURNAL),
    ("blkdev_issue_flush", site::FLUSH),
];

/// Longest path of a file that a slow call tells.
pub const SLOW_PATH: usize = 1_024;

/// A call that took long, as it ends; behind it is the file's path.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SlowCall {
    /// When it ended (monotonic clock).
    pub end_ns: u64,
    /// How long it took.
    pub total_ns: u64,
    /// On what: together exactly [`SlowCall::total_ns`].
    pub parts: Parts,
    /// As [`Partition::thread`].
    pub thread: u64,
    /// Inode number of the file.
    pub ino: u64,
    /// Writes that it made durable.
    pub writes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Device of the file system.
    pub dev: u32,
    /// `target * classes + class`.
    pub cell: u32,
    /// [`crate::ops::Op`]
    pub op: u32,
    /// [`UNLINKED`], [`NO_PATH`], [`UNDIVIDED`].
    pub flags: u32,
    /// What it returned, when that is an error: errno, positive.
    pub errno: u32,
    /// Bytes of the path.
    pub path_len: u32,
    /// Name of the thread at its end; empty where the call ends in another process.
    pub comm: [u8; 16],
}

/// [`SlowCall::flags`]: the file has no name any more; its path is that of its last one.
pub const UNLINKED: u32 = 1;
/// [`SlowCall::flags`]: the call has no file, or it was closed meanwhile, or its path is too long.
pub const NO_PATH: u32 = 2;
/// [`SlowCall::flags`]: where its time went was not kept, and all of it is in phase other.
pub const UNDIVIDED: u32 = 4;

const _: () = assert!(size_of::<Activity>() == 64 && size_of::<Seen>() == 40 && size_of::<SlowCall>() == 144);
const _: () = assert!(size_of::<Partition>() == 8 * (1 + 2 * PHASES.len()) + 16 + 40 + 48);
const _: () = assert!(WAIT_FUNCTIONS.len() <= MAX_WAIT_FUNCTIONS && MAX_WAIT_FUNCTIONS.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_any_address_in_them() {
        let mut functions = WaitFunctions::NONE;
        let numbers = || (0..MAX_WAIT_FUNCTIONS).zip(1_u32..).map(|(n, site)| (n, 1_000 + 100 * n as u64, site));
        for (n, begin, site) in numbers() {
            (functions.begins[n], functions.ends[n], functions.sites[n]) = (begin, begin + 50, site);
        }
        for (_, begin, site) in numbers() {
            assert_eq!([0, 49, 50, 99].map(|at| functions.site_of(begin + at)), [site, site, 0, 0]);
        }
        assert_eq!((functions.site_of(0), functions.site_of(999)), (0, 0));
        functions.begins[1..].fill(u64::MAX);
        assert_eq!((functions.site_of(1_001), functions.site_of(5_000)), (1, 0));
        assert_eq!(WaitFunctions::NONE.site_of(u64::MAX - 1), 0);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let added_up = |mut parts, whole| {
            add_up(&mut parts, whole);
            assert_eq!(parts.iter().sum::<u64>(), whole);
            parts
        };
        assert_eq!(added_up([1, 2, 3, 4, 5, 6, 7], 28), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(added_up([1, 2, 3, 4, 5, 6, 7], 30), [1, 2, 3, 4, 5, 6, 9]);
        assert_eq!(added_up([1, 2, 3, 4, 5, 6, 7], 20), [0, 2, 3, 4, 5, 6, 0]);
        assert_eq!(added_up([1, 2, 3, 4, 5, 6, 7], 0), [0; 7]);
        assert_eq!(added_up([0; 7], 5), [0, 0, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn time_counts_as_the_innermost_cause() {
        let counts = |parts: &[u16]| parts.iter().map(|part| part::one(*part)).sum();
        let phase = |parts: &[u16]| PHASES[phase_of(counts(parts)) as usize];
        assert_eq!(phase(&[part::QUEUE, part::DEVICE, part::FLUSH]), "flush");
        assert_eq!(phase(&[part::QUEUE, part::DEVICE, part::BIO]), "device");
        assert_eq!(phase(&[part::QUEUE, part::BIO]), "queue");
        assert_eq!((phase(&[part::BIO]), phase(&[])), ("device", "other"));
    }
}
