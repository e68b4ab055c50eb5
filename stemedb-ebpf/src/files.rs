//! Files that targets write: one record for each file and target, found by the address of its inode. It says what waits for a sync, and
//! whose the file's pages are when the kernel writes them out long after, in threads that know nothing of the process.

use crate::slots::is_set;
use crate::tables::{WAYS, bucket_of};

/// Buckets of the table of files.
pub const FILE_BUCKETS: u32 = 8_192;
/// Files that there is room for.
pub const MAX_FILES: u32 = FILE_BUCKETS * WAYS;

/// A record may make room for another when it has been idle for this long, in nanoseconds: who has just found it has long been done with it.
pub const FILE_IDLE_NS: u64 = 1_000_000_000;
/// The same where writes to the file wait for a sync, which are missing from the group histograms then.
pub const FILE_WAITS_NS: u64 = 10_000_000_000;

/// What is known of a file that a target writes; a line of the cache.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FileRecord {
    /// Inode number, because an address is reused.
    pub ino: u64,
    /// Inode generation, because a number is reused.
    pub generation: u32,
    /// Class of the file.
    pub class: u32,
    /// When it was last written to.
    pub used_ns: u64,
    /// What no sync has made durable yet.
    pub pending: Pending,
    /// Fills the line.
    pub zero: [u64; 2],
}

/// Writes to one file that no sync has covered yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    /// When the first of them returned (nanoseconds of the monotonic clock); 0 when there is none.
    pub first_ns: u64,
    /// How many.
    pub writes: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Pending {
    /// None.
    pub const NONE: Self = Self { first_ns: 0, writes: 0, bytes: 0 };
}

/// By what a record is known: address and target as one number, which changes at once. Structures lie at multiples of eight, and
/// addresses of the kernel have at most 57 bits that differ (five levels of page tables).
#[inline(always)]
#[must_use]
pub const fn file_word(inode: u64, target: u32) -> u64 {
    file_of(inode) | (target as u64) << TARGET_SHIFT | TAKEN
}

/// The part of the number that is the file's.
#[inline(always)]
#[must_use]
pub const fn file_of(inode: u64) -> u64 {
    inode >> 3 & FILE_MASK
}

/// The address of the inode of a file by its number: the bits above it are ones in the kernel's half.
#[inline(always)]
#[must_use]
pub const fn inode_of(word: u64) -> u64 {
    (word & FILE_MASK) << 3 | !(u64::MAX >> 7)
}

/// 1 if a record that is ready is that of a file, whoever writes it, else 0; without a branch.
#[inline(always)]
#[must_use]
pub const fn is_of_file(word: u64, inode: u64) -> u64 {
    let differs = (word & (FILE_MASK | TAKEN | FILE_BUSY)) ^ (file_of(inode) | TAKEN);
    is_set(differs) ^ 1
}

/// The target that writes the file.
#[inline(always)]
#[must_use]
pub const fn file_target(word: u64) -> u32 {
    (word >> TARGET_SHIFT) as u32 & 0xff
}

/// The bucket of a file, by the lower half of its inode's address.
#[inline(always)]
#[must_use]
pub const fn file_bucket(lower: u32) -> u32 {
    bucket_of(lower, FILE_BUCKETS)
}

const FILE_MASK: u64 = (1 << TARGET_SHIFT) - 1;
const TARGET_SHIFT: u32 = 54;
/// Never zero.
const TAKEN: u64 = 1 << 62;
/// A record that another is just making, or changing for another file.
pub const FILE_BUSY: u64 = 1 << 63;

const _: () = assert!(size_of::<FileRecord>() == 64 && crate::MAX_TARGETS <= 1 << 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_writer_are_one_number() {
        let (inode, other) = (0xffff_8880_1234_5678, 0xffff_8880_1234_5680);
        let word = file_word(inode, 127);
        assert_eq!(file_target(word), 127);
        assert_eq!([is_of_file(word, inode), is_of_file(word, other), is_of_file(word | FILE_BUSY, inode)], [1, 0, 0]);
        assert_ne!(word, file_word(inode, 126));
        assert_eq!(
            [inode, 0xff11_0000_0000_0008].map(|at| inode_of(file_word(at, 127))),
            [inode, 0xff11_0000_0000_0008]
        );
        // Five levels of page tables.
        assert_ne!(file_of(0xff11_0000_0000_0008), file_of(0xff10_0000_0000_0008));
        assert_eq!(file_target(file_word(u64::MAX, 3)), 3);
    }

    #[test]
    fn ten_thousand_inodes_find_places() {
        for distance in [640, 1080, 1152] {
            let mut taken = vec![0; FILE_BUCKETS as usize];
            for n in 0..10_000 {
                taken[file_bucket(0x1000_0000 + n * distance) as usize] += 1;
            }
            let without: u32 = taken.iter().map(|count: &u32| count.saturating_sub(WAYS)).sum();
            assert_eq!(without, 0, "at distance {distance}");
        }
    }
}
