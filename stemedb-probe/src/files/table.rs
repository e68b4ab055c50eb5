//! The table of class directories, in which the kernel side looks up every directory above a file. Only the agent writes it.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use stemedb_ebpf::DirEntry;
use stemedb_ebpf::tables::{DIR_WAYS, Dirs, dir_bucket};

use super::plan::DirKey;
use crate::kernel::shared::Shared;
use crate::kernel::{Kernel, KernelError};

/// See the module.
pub struct Table(Shared<Dirs>);

impl Table {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Shared::new(kernel, "DIRS").map(Self)
    }

    /// Puts a directory in, or changes what it is. False where there is no room.
    pub fn insert(&mut self, entry: DirEntry) -> bool {
        let mut places = self.places(entry.inode, entry.target);
        let Some(place) = self.find(entry.inode, entry.target).or_else(|| places.find(|place| inode(*place) == 0))
        else {
            return false;
        };
        put(place, &entry);
        true
    }

    /// Takes a directory out.
    pub fn remove(&mut self, key: &DirKey) {
        if let Some(place) = self.find(key.inode, key.target) {
            set_inode(place, 0);
        }
    }

    /// The places that a directory may have for a target.
    fn places(&self, inode: u64, target: u32) -> impl Iterator<Item = NonNull<DirEntry>> + use<> {
        #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
        let bucket = self.0.at(dir_bucket(inode as u32, target) as usize);
        // SAFETY: in bounds.
        bucket
            .into_iter()
            .flat_map(|bucket| (0..DIR_WAYS).map(move |way| unsafe { bucket.cast::<DirEntry>().add(way) }))
    }

    fn find(&self, at: u64, target: u32) -> Option<NonNull<DirEntry>> {
        // SAFETY: as above; nobody else writes to it.
        self.places(at, target).find(|place| inode(*place) == at && unsafe { place.as_ref() }.target == target)
    }
}

/// Writes an entry into a place that is free or that directory's.
fn put(place: NonNull<DirEntry>, entry: &DirEntry) {
    // SAFETY: a place of the map's memory, which nobody else writes to. Who looks meanwhile sees the one class or the other; what
    // another directory at the same address was, or the same one for another target, is not there while it is written.
    unsafe {
        let at = place.as_ptr();
        let there =
            ((&raw const (*at).ino).read(), (&raw const (*at).generation).read(), (&raw const (*at).target).read());
        if there != (entry.ino, entry.generation, entry.target) {
            set_inode(place, 0);
            (&raw mut (*at).ino).write_volatile(entry.ino);
            (&raw mut (*at).generation).write_volatile(entry.generation);
            (&raw mut (*at).target).write_volatile(entry.target);
        }
        (&raw mut (*at).class).write_volatile(entry.class);
        (&raw mut (*at).children).write_volatile(entry.children);
    }
    set_inode(place, entry.inode);
}

fn inode(place: NonNull<DirEntry>) -> u64 {
    // SAFETY: a place of the map's memory.
    unsafe { (&raw const (*place.as_ptr()).inode).read_volatile() }
}

/// After everything else that is written there.
fn set_inode(place: NonNull<DirEntry>, inode: u64) {
    // SAFETY: an aligned word of the map's memory, which is only changed like this.
    unsafe { AtomicU64::from_ptr(&raw mut (*place.as_ptr()).inode) }.store(inode, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_anothers_is_all_of_the_new_one() {
        let entry = |target, class| DirEntry { inode: 7, ino: 2, generation: 1, target, class, ..DirEntry::default() };
        let mut place = entry(0, 1);
        let at = NonNull::from(&mut place);
        set_inode(at, 0);
        // The same directory, of another target.
        put(at, &entry(1, 3));
        // SAFETY: ours.
        let there = unsafe { at.read() };
        assert_eq!((there.inode, there.target, there.class), (7, 1, 3));
    }
}
