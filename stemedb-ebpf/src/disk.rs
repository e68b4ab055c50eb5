//! Block I/O: what is kept of a request, and how requests are counted. Every type is `repr(C)` and without padding.

use crate::slots::SLOTS;
use crate::tables::{WAYS, bucket_of, cell_buckets};
use crate::{MAX_CLASSES, MAX_TARGETS};

/// Places for requests that are in flight, on all devices.
pub const MAX_REQUESTS: u32 = 32_768;
/// Buckets of their table.
pub const REQUEST_BUCKETS: u32 = MAX_REQUESTS / WAYS;
/// Combinations of device, target, class, operation and origin that are told apart.
pub const MAX_DISK_CELLS: u32 = 8_192;
/// Buckets of their table.
pub const DISK_BUCKETS: u32 = cell_buckets(MAX_DISK_CELLS);
/// Devices whose latencies are told apart, for each target and for what is nobody's. Each has some kilobytes for a processor.
pub const MAX_DISKS: u32 = 16;
/// Operations of a device that most have: read, write, flush and one more.
pub const DISK_OPS_EACH: u32 = 4;
/// Kinds of failed requests that are told apart.
pub const MAX_DISK_ERRORS: u32 = 1_024;
/// Functions of the kernel that tell what a bio is; a name may be that of several.
pub const MAX_END_FUNCTIONS: usize = 16;
/// Threads that are about to write the superblock of a journal.
pub const MAX_JOURNALS: u32 = 256;
/// File systems with sync calls in flight.
pub const MAX_WAITS: u32 = 256;
/// Places, one after the other, of which a file system takes the first that is free, for good.
pub const WAIT_PROBES: u32 = 8;
/// Bios of one request that are charged each to its own file; those behind are charged as the first.
pub const MAX_BIOS: usize = 256;

/// Nobody's: processes that are not watched, and what cannot be charged.
pub const NO_TARGET: u32 = u32::MAX;

labels! {
    /// What a request does.
    DiskOp, DISK_OPS:
    /// It reads.
    Read = 0, "read";
    /// It writes; one without data only asks for a flush.
    Write = 1, "write";
    /// The flush of the device's cache itself.
    Flush = 2, "flush";
    /// It gives blocks back.
    Discard = 3, "discard";
    /// It makes blocks zero.
    WriteZeroes = 4, "write_zeroes";
    /// Zones and secure erasure.
    Other = 5, "other";
}

labels! {
    /// By which way a request came to the disk.
    Origin, ORIGINS:
    /// The process that wants it submitted it.
    Direct = 0, "direct";
    /// A kernel thread, or another process, wrote pages of the page cache.
    Writeback = 1, "writeback";
    /// It is the file system's journal or log.
    Journal = 2, "journal";
    /// Its begin was not seen.
    Unknown = 3, "unknown";
}

/// A number of `REQ_OP_...` (`enum req_op`, include/linux/blk_types.h) as a [`DiskOp`]; `None` for what is between a program and a driver
/// only, which the kernel does not count as I/O either.
#[inline(always)]
#[must_use]
pub const fn disk_op(number: u32) -> Option<DiskOp> {
    Some(match number {
        0 => DiskOp::Read,
        // REQ_OP_WRITE, REQ_OP_ZONE_APPEND
        1 | 7 => DiskOp::Write,
        2 => DiskOp::Flush,
        3 => DiskOp::Discard,
        9 => DiskOp::WriteZeroes,
        34 | 35 => return None,
        _ => DiskOp::Other,
    })
}

/// A request, or a bio for a device that takes no requests, between its begin and its end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DiskRequest {
    /// When it entered the block layer; 0 when that was not seen.
    pub start_ns: u64,
    /// When the driver got it the last time; 0 when it has not got it, or has given it back.
    pub issue_ns: u64,
    /// Address of the inode whose pages its first bio had; 0 when there is none.
    pub inode: u64,
    /// Device, in the kernel's own encoding (major << 20 | minor).
    pub dev: u32,
    /// Index of the target, or [`NO_TARGET`].
    pub target: u32,
    /// Class of the file.
    pub class: u32,
    /// [`DiskOp`]
    pub op: u8,
    /// [`Origin`]
    pub origin: u8,
    /// [`ASKED_FLUSH`], [`ASKED_FUA`], [`ISSUED`], [`FAILED`], [`PARTIAL`].
    pub flags: u16,
    /// Bytes of a bio: its end does not tell.
    pub bytes: u32,
    /// The [`crate::phases::Activity`] that it is part of: its place from 1 on; 0 for none.
    pub activity: u16,
    /// What it adds there now: [`crate::phases::part`].
    pub part: u16,
    /// Its own place in the table, from 1 on; 0 where it has none yet.
    pub place: u32,
    /// Fills a line of the cache.
    pub zero: [u32; 3],
}

/// The bucket of a request, by its address. The lower half is enough, and is no pointer to the verifier, which allows no
/// arithmetic with one.
#[inline(always)]
#[must_use]
pub const fn request_bucket(lower: u32) -> u32 {
    bucket_of(lower, REQUEST_BUCKETS)
}

/// [`DiskRequest::flags`]: the device's cache is to be flushed first (`REQ_PREFLUSH`).
pub const ASKED_FLUSH: u16 = 1;
/// [`DiskRequest::flags`]: its data is to be on the medium when it ends (`REQ_FUA`).
pub const ASKED_FUA: u16 = 2;
/// [`DiskRequest::flags`]: the driver has had it.
pub const ISSUED: u16 = 4;
/// [`DiskRequest::flags`]: its failure has been counted.
pub const FAILED: u16 = 8;
/// [`DiskRequest::flags`]: some of its bytes have been done before the others.
pub const PARTIAL: u16 = 16;
/// A request that has begun so long ago has ended unseen, and its place is another's if there is no better one: the kernel itself gives
/// up after half a minute.
pub const STALE_NS: u64 = 60_000_000_000;

/// Which requests are counted together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiskKey {
    /// Device, as in [`DiskRequest::dev`].
    pub dev: u32,
    /// Index of the target, or [`NO_TARGET`].
    pub target: u32,
    /// Class of the file.
    pub class: u32,
    /// [`DiskOp`]
    pub op: u16,
    /// [`Origin`]
    pub origin: u16,
}

impl DiskKey {
    /// As one number, by which it has a place in its table.
    #[inline(always)]
    #[must_use]
    pub const fn word(&self) -> u64 {
        let (target, class) = ((self.target & TARGET_MASK) as u64, (self.class & CLASS_MASK) as u64);
        let (op, origin) = ((self.op & 0xf) as u64, (self.origin & 0xf) as u64);
        self.dev as u64 | target << 32 | class << 40 | op << 52 | origin << 56 | TAKEN
    }

    /// What the number says.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "parts of a number")]
    pub const fn of(word: u64) -> Self {
        Self {
            dev: word as u32,
            target: target_of(word),
            class: (word >> 40) as u32 & CLASS_MASK,
            op: (word >> 52) as u16 & 0xf,
            origin: (word >> 56) as u16 & 0xf,
        }
    }
}

/// Of a number that stands for a key: not zero.
const TAKEN: u64 = 1 << 60;
const TARGET_MASK: u32 = 0xff;
const CLASS_MASK: u32 = 0xfff;

/// All bits are nobody's.
const fn target_of(word: u64) -> u32 {
    let target = (word >> 32) as u32 & TARGET_MASK;
    if target == TARGET_MASK { NO_TARGET } else { target }
}

/// Requests on one processor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskCounts {
    /// Requests that ended, failed ones too.
    pub ios: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Which latencies are counted together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LatencyKey {
    /// Device, as in [`DiskRequest::dev`].
    pub dev: u32,
    /// Index of the target, or [`NO_TARGET`].
    pub target: u32,
    /// [`DiskOp`]
    pub op: u32,
}

impl LatencyKey {
    /// As one number, by which it has a place in its table.
    #[inline(always)]
    #[must_use]
    pub const fn word(&self) -> u64 {
        self.dev as u64 | ((self.target & TARGET_MASK) as u64) << 32 | ((self.op & 0xf) as u64) << 40 | TAKEN
    }

    /// What the number says.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "parts of a number")]
    pub const fn of(word: u64) -> Self {
        Self { dev: word as u32, target: target_of(word), op: (word >> 40) as u32 & 0xf }
    }
}

/// Latencies on one processor; slots by [`crate::slots::latency_slot`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LatencyStats {
    /// Sum of the times from the block layer to the driver, in nanoseconds.
    pub queue_sum_ns: u64,
    /// Sum of the times from the driver to the end.
    pub device_sum_ns: u64,
    /// From the block layer to the driver.
    pub queue: [u64; SLOTS],
    /// From the driver to the end.
    pub device: [u64; SLOTS],
}

/// Whose flushes are counted together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlushKey {
    /// Device, as in [`DiskRequest::dev`].
    pub dev: u32,
    /// Index of the target, or [`NO_TARGET`].
    pub target: u32,
}

/// Flushes that requests asked for, on one processor.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FlushStats {
    /// Requests that asked for their data to be on the medium at their end (FUA).
    pub fua: u64,
    /// Sum of the times that requests waited for a flush, in nanoseconds.
    pub sum_ns: u64,
    /// Those times by [`crate::slots::latency_slot`].
    pub slots: [u64; SLOTS],
}

/// Which failed requests are counted together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DiskErrorKey {
    /// Device, as in [`DiskRequest::dev`].
    pub dev: u32,
    /// Index of the target, or [`NO_TARGET`].
    pub target: u32,
    /// Class of the file.
    pub class: u32,
    /// [`DiskOp`]
    pub op: u16,
    /// `blk_status_t`, or a negative errno on kernels whose tracepoint gives that.
    pub status: i16,
}

/// How many sync calls wait on a file system, for each target.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// [`wait_word`] of the device of the superblock; 0 where the place is free.
    pub dev: u64,
    /// The calls, by the index of the target.
    pub counts: [u64; MAX_TARGETS],
}

/// A device as a number that is never zero.
#[inline(always)]
#[must_use]
pub const fn wait_word(dev: u32) -> u64 {
    dev as u64 | 1 << 32
}

/// Errors that the kernel recorded against files.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileErrorKey {
    /// Index of the target.
    pub target: u32,
    /// Class of the file.
    pub class: u32,
}

/// What a function that ends bios or buffers tells about them.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndFunction {
    /// They are blocks of a journal.
    Journal = 1,
    /// They are buffers: the function of the `struct buffer_head` tells more.
    Buffer = 2,
    /// They are direct I/O, and lead to their file (`struct iomap_dio`).
    DirectIo = 3,
}

/// Those of this kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndFunctions {
    /// Where each is; 0 behind the last.
    pub addresses: [u64; MAX_END_FUNCTIONS],
    /// [`EndFunction`]
    pub tells: [u32; MAX_END_FUNCTIONS],
}

impl EndFunctions {
    /// None.
    pub const NONE: Self = Self { addresses: [0; MAX_END_FUNCTIONS], tells: [0; MAX_END_FUNCTIONS] };

    /// What the function at an address tells; 0 for one that is not known.
    #[inline(always)]
    #[must_use]
    pub fn tell(&self, address: u64) -> u32 {
        let mut n = 0;
        while n < MAX_END_FUNCTIONS {
            if self.addresses[n] == 0 {
                break;
            }
            if self.addresses[n] == address {
                return self.tells[n];
            }
            n += 1;
        }
        0
    }
}

/// The functions that the kernel side knows by their addresses, with what each tells (fs/buffer.c, fs/jbd2/commit.c,
/// fs/ext4/fast_commit.c, fs/xfs/xfs_log.c, fs/iomap/direct-io.c; the same names from 5.10 to 6.18).
pub const END_FUNCTIONS: &[(&str, EndFunction)] = &[
    ("journal_end_buffer_io_sync", EndFunction::Journal),
    ("ext4_end_buffer_io_sync", EndFunction::Journal),
    ("xlog_bio_end_io", EndFunction::Journal),
    ("end_bio_bh_io_sync", EndFunction::Buffer),
    ("iomap_dio_bio_end_io", EndFunction::DirectIo),
];

const _: () = assert!(size_of::<DiskRequest>() == 64 && size_of::<DiskKey>() == 16);
const _: () = assert!(size_of::<LatencyStats>() == 8 * (2 + 2 * SLOTS) && size_of::<FlushStats>() == 8 * (2 + SLOTS));
const _: () = assert!(MAX_TARGETS < TARGET_MASK as usize && MAX_CLASSES <= CLASS_MASK as usize + 1);
const _: () = assert!(size_of::<DiskErrorKey>() == 16 && size_of::<LatencyKey>() == 12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_tables() {
        assert_eq!(DISK_OPS[DiskOp::WriteZeroes as usize], "write_zeroes");
        assert_eq!(DISK_OPS[DiskOp::Other as usize], "other");
        assert_eq!(ORIGINS[Origin::Unknown as usize], "unknown");
    }

    #[test]
    fn requests_at_even_distances_find_places() {
        for distance in [64, 320, 384, 448, 4096] {
            let mut taken = vec![0; REQUEST_BUCKETS as usize];
            for n in 0..MAX_REQUESTS / 8 {
                taken[request_bucket(0x1000_0000 + n * distance) as usize] += 1;
            }
            assert!(taken.iter().all(|count| *count <= WAYS), "{distance}");
        }
    }

    #[test]
    fn keys_are_numbers_and_back() {
        for (target, class) in [(0, 0), (99, 4_095), (NO_TARGET, 1)] {
            let key = DiskKey { dev: 0xfff_fffff, target, class, op: 5, origin: 3 };
            assert_eq!(DiskKey::of(key.word()), key);
            let key = LatencyKey { dev: 0, target, op: 5 };
            assert_eq!(LatencyKey::of(key.word()), key);
            assert_ne!(key.word(), 0);
        }
    }

    #[test]
    fn functions_are_known_by_their_addresses() {
        let mut known = EndFunctions::NONE;
        assert_eq!((known.tell(0), known.tell(7)), (0, 0));
        for n in 0..MAX_END_FUNCTIONS {
            known.addresses[n] = 100 + n as u64;
            known.tells[n] = 3;
        }
        assert_eq!([0, 99, 100, 115, 116].map(|at| known.tell(at)), [0, 0, 3, 3, 0]);
    }

    #[test]
    fn what_only_a_driver_sees_is_no_io() {
        assert_eq!(
            [0, 1, 2, 3, 5, 9].map(|n| disk_op(n).map(|op| DISK_OPS[op as usize])),
            [Some("read"), Some("write"), Some("flush"), Some("discard"), Some("other"), Some("write_zeroes")]
        );
        assert_eq!((disk_op(34), disk_op(35)), (None, None));
    }
}
