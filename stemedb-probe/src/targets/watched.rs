//! The table of watched processes, which the kernel side changes at the same time.

use std::sync::atomic::{AtomicU64, Ordering};

use stemedb_ebpf::TargetEntry;
use stemedb_ebpf::tables::{
    PROCESS_BUCKETS, PROCESS_WAYS, Processes, is_process, process_bucket, process_entry, process_word,
};

use crate::kernel::shared::Shared;
use crate::kernel::{Kernel, KernelError};

/// See the module.
pub struct Watched(Shared<Processes>);

/// What became of a process that was to be put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is watched from now on.
    New,
    /// The kernel side knows it already, and follows its children.
    Known(TargetEntry),
    /// There is no room.
    Full,
}

impl Watched {
    /// Takes the table.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Shared::new(kernel, "TARGETS").map(Self)
    }

    fn bucket(&self, bucket: u32) -> Option<&Bucket> {
        // SAFETY: aligned words of the map's memory, which lives as long as `self`, and which everybody changes by atomic
        // operations only.
        self.0.at(bucket as usize).map(|found| unsafe { found.cast::<Bucket>().as_ref() })
    }

    /// Puts a process in, unless it is there.
    pub fn add(&self, tgid: u32, entry: TargetEntry) -> Added {
        let Some(bucket) = self.bucket(process_bucket(tgid)) else { return Added::Full };
        if let Some(known) = bucket.other(tgid, usize::MAX) {
            return Added::Known(known);
        }
        let word = process_word(tgid, entry);
        for way in 0..PLACES {
            if !bucket.exchange(way, 0, word) {
                continue;
            }
            let Some(known) = bucket.other(tgid, way) else { return Added::New };
            // The kernel side has put it in at the same moment; what that says is newer. It may have changed ours meanwhile.
            bucket.exchange(way, word, 0);
            return Added::Known(known);
        }
        Added::Full
    }

    /// Takes a process out.
    pub fn remove(&self, tgid: u32) {
        if let Some(bucket) = self.bucket(process_bucket(tgid)) {
            bucket.clear(|word| is_process(word, tgid));
        }
    }

    /// Takes out all.
    pub fn clear_all(&self) {
        for bucket in (0..PROCESS_BUCKETS).filter_map(|bucket| self.bucket(bucket)) {
            bucket.clear(|word| word != 0);
        }
    }
}

/// Places of a bucket.
const PLACES: usize = PROCESS_WAYS as usize;

/// [`Processes`]
#[repr(C)]
struct Bucket {
    count: AtomicU64,
    words: [AtomicU64; PLACES],
}

impl Bucket {
    /// Changes a word, unless another has changed it; and the number of words, so that it is never too small.
    fn exchange(&self, way: usize, was: u64, is: u64) -> bool {
        if was == 0 {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        let changed = self.words[way].compare_exchange(was, is, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let one_less = if was == 0 { !changed } else { changed && is == 0 };
        if one_less {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
        changed
    }

    fn clear(&self, which: impl Fn(u64) -> bool) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for way in 0..PLACES {
            let word = self.words[way].load(Ordering::SeqCst);
            if which(word) {
                self.exchange(way, word, 0);
            }
        }
    }

    /// What a process is known as in another place than this one.
    fn other(&self, tgid: u32, way: usize) -> Option<TargetEntry> {
        let words = self.words.iter().enumerate().filter(|(other, _)| *other != way);
        words.map(|(_, word)| word.load(Ordering::SeqCst)).find(|word| is_process(*word, tgid)).map(process_entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_its_words() {
        let bucket = Bucket { count: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; PLACES] };
        let count = || bucket.count.load(Ordering::SeqCst);
        assert!(bucket.exchange(3, 0, 7) && !bucket.exchange(3, 0, 8));
        assert_eq!(count(), 1);
        assert!(bucket.exchange(3, 7, 9) && !bucket.exchange(3, 7, 0));
        assert_eq!((count(), bucket.other(9, 0), bucket.other(9, 3)), (1, Some(process_entry(9)), None));
        bucket.clear(|word| word == 9);
        assert_eq!((count(), bucket.other(9, 0)), (0, None));
        assert_eq!(size_of::<Bucket>(), size_of::<Processes>());
    }
}
