//! Tables in arrays: a look-up in a hash map takes the kernel forty nanoseconds and more, one in an array is a few instructions of
//! the program itself. A table has buckets of places, each bucket's numbers in a line of the cache. A place is taken by an atomic
//! change of its number from 0, and given back by a 0; there is no lock, and where a bucket is full, the caller counts a loss.

use crate::{DirEntry, TargetEntry};

/// Places of a bucket.
pub const WAYS: u32 = 8;

/// The numbers by which the places of a bucket are known; 0 where a place is free.
pub type Ids = [u64; WAYS as usize];

/// The bucket of a number, or its first place, by its lower half: from upper bits that depend on all of it, by multiplications (Knuth,
/// "The Art of Computer Programming", 6.4), because structures lie at even distances. There are a power of two.
#[inline(always)]
#[must_use]
pub const fn bucket_of(lower: u32, buckets: u32) -> u32 {
    mixed(lower) >> (32 - buckets.trailing_zeros())
}

#[inline(always)]
const fn mixed(lower: u32) -> u32 {
    let mixed = lower.wrapping_mul(0x9e37_79b1);
    (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca77)
}

/// Buckets, one after the other, in which what is counted under a number may be: such a place is never given back.
pub const CELL_PROBES: u32 = 4;

/// The first bucket for what is counted under a number, of a number of buckets that is a power of two of at most sixteen bits.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "both halves are in it")]
pub const fn cell_bucket(word: u64, buckets: u32) -> u32 {
    (mixed((word ^ word >> 32) as u32) >> 16) & (buckets - 1)
}

/// How many buckets there are for a number of such places, at most sixteen bits.
#[must_use]
pub const fn cell_buckets(places: u32) -> u32 {
    let buckets = places.div_ceil(WAYS).next_power_of_two();
    if buckets > 1 << 16 { 1 << 16 } else { buckets }
}

/// Buckets of the table of watched processes; process ids are given one after the other, and fill them evenly.
pub const PROCESS_BUCKETS: u32 = 16_384;

/// Places of a bucket of processes.
pub const PROCESS_WAYS: u32 = 7;

/// A bucket of processes; a line of the cache.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Processes {
    /// How many words are not 0, or are about to be: nothing else is looked at where that is none.
    pub count: u64,
    /// See [`process_word`]; 0 where a place is free.
    pub words: [u64; PROCESS_WAYS as usize],
}

/// The bucket of a process.
#[inline(always)]
#[must_use]
pub const fn process_bucket(tgid: u32) -> u32 {
    tgid & (PROCESS_BUCKETS - 1)
}

/// A watched process as one number, which changes at once. No process has the id 0.
#[inline(always)]
#[must_use]
pub const fn process_word(tgid: u32, entry: TargetEntry) -> u64 {
    tgid as u64 | (entry.target as u64) << 32 | (entry.from as u64) << 48
}

/// Whether it is this process.
#[inline(always)]
#[must_use]
pub const fn is_process(word: u64, tgid: u32) -> bool {
    word & 0xffff_ffff == tgid as u64
}

/// What the number says.
#[inline(always)]
#[must_use]
pub const fn process_entry(word: u64) -> TargetEntry {
    TargetEntry { target: (word >> 32 & 0xffff) as u32, from: (word >> 48) as u32 }
}

/// Places of a bucket of class directories.
pub const DIR_WAYS: usize = 4;
/// Buckets of class directories.
pub const DIR_BUCKETS: u32 = 4_096;

/// A bucket of class directories, one place of which is free where its inode is 0.
pub type Dirs = [DirEntry; DIR_WAYS];

/// The bucket of a directory for a target, by the lower half of its inode's address.
#[inline(always)]
#[must_use]
pub const fn dir_bucket(lower: u32, target: u32) -> u32 {
    bucket_of(lower ^ target << 3, DIR_BUCKETS)
}

const _: () = assert!(
    size_of::<Ids>() == 64 && size_of::<Processes>() == 64 && size_of::<Dirs>() == 128 && crate::MAX_TARGETS < 1 << 16
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_one_number() {
        let entry = TargetEntry { target: 127, from: 2 };
        let word = process_word(4_194_303, entry);
        assert_eq!(process_entry(word), entry);
        assert!(is_process(word, 4_194_303) && !is_process(word, 1));
        assert_ne!(process_word(1, TargetEntry { target: 0, from: 0 }), 0);
    }

    #[test]
    fn inodes_at_even_distances_find_places() {
        for distance in [640, 1080, 1152, 4096] {
            let mut taken = vec![0; DIR_BUCKETS as usize];
            for n in 0..DIR_BUCKETS / 8 {
                taken[dir_bucket(0x1000_0000 + n * distance, 1) as usize] += 1;
            }
            assert!(taken.iter().all(|count| *count <= DIR_WAYS), "{distance}");
        }
    }
}
