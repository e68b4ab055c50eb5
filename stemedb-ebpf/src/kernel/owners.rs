//! Whose a file is: of the target that has written to it last. The kernel writes pages to the disk long after, in threads that
//! know nothing of the process.

use stemedb_ebpf::FileKey;
use stemedb_ebpf::disk::Owner;

use super::maps::{OWNERS, offset};
use super::read::{self, Addr};

/// Notes that a target writes to a file, and the file's class.
#[inline(always)]
pub fn note(file: &FileKey, class: u32) {
    let owner = Owner { ino: file.ino, generation: file.generation, target: file.target, class, zero: 0 };
    // SAFETY: the entry is compared at once; entries are replaced, not changed.
    if unsafe { OWNERS.get(&file.inode) } != Some(&owner) {
        let _ = OWNERS.insert(&file.inode, &owner, 0);
    }
}

/// The target and the class of a file by its inode.
#[inline(always)]
pub fn of(inode: Addr) -> Option<Owner> {
    // SAFETY: as above.
    let owner = unsafe { OWNERS.get(&inode) }.copied()?;
    let same = read::at(inode, offset!(inode_ino)) == Some(owner.ino)
        && read::at(inode, offset!(inode_generation)) == Some(owner.generation);
    same.then_some(owner)
}
