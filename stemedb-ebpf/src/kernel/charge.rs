//! To whom a request is charged: to a target, to a class, and by which way it came. What cannot be known is nobody's, and
//! never a guess; docs/architecture.md says how each is known.

use stemedb_ebpf::CLASS_OTHER;
use stemedb_ebpf::disk::{DiskKey, DiskOp, EndFunction, NO_TARGET, Origin};
use stemedb_ebpf::offsets::ABSENT;

use super::class;
use super::file::File;
use super::files;
use super::maps::{END_FUNCTIONS, JOURNALS, offset, offsets, volatile};
use super::read::{self, Addr};
use super::request::{Bio, host_of, is_swap};
use super::rules;
use super::task;
use super::waits;

/// `BTRFS_SUPER_MAGIC` (include/uapi/linux/magic.h)
const BTRFS: u64 = 0x9123_683E;
/// `BTRFS_BTREE_INODE_OBJECTID` (include/uapi/linux/btrfs_tree.h): the inode whose pages are the trees.
const BTRFS_TREES: u64 = 1;

/// See the module.
#[derive(Clone, Copy)]
pub struct Charge {
    /// Index of the target, or [`NO_TARGET`].
    pub target: u32,
    /// Class of the file.
    pub class: u32,
    /// By which way it came.
    pub origin: Origin,
    /// The inode whose pages it has; 0 where it has none of the page cache.
    pub inode: Addr,
    /// By what those are known who wait for it, of those in sync calls: the inode of a file, or the device of a file system whose
    /// journal it is; 0 where only the thread that submits it may.
    pub waited: u64,
}

/// Nobody's.
pub const UNKNOWN: Charge =
    Charge { target: NO_TARGET, class: CLASS_OTHER, origin: Origin::Unknown, inode: 0, waited: 0 };

/// The charge of a request as the thread that is running submits it.
#[inline(always)]
pub fn of_submitted(bio: Bio, op: DiskOp, dev: u32) -> Charge {
    let task = task::current();
    let mut charge =
        Charge { target: task::target(task), class: CLASS_OTHER, origin: Origin::Direct, inode: 0, waited: 0 };
    let is_watched = charge.target != NO_TARGET;
    if !bio.is_there() || !matches!(op, DiskOp::Read | DiskOp::Write) {
        return charge;
    }
    if is_swap(bio.flags()) {
        // Whoever runs short of memory writes what is another's.
        return Charge { target: NO_TARGET, origin: Origin::Writeback, ..charge };
    }
    let page = bio.page();
    charge.inode = host_of(page);
    let end = end_function(bio.end());
    if matches!(op, DiskOp::Write) {
        if let Some(on) = journal(task, bio, end, page, &charge, dev) {
            charge.origin = Origin::Journal;
            charge.waited = u64::from(on);
            if !is_watched {
                charge.target = waits::who(on);
            }
            return charge;
        }
        let owner = if charge.inode == 0 { None } else { files::owner(charge.inode) };
        if let Some(owner) = owner {
            charge.class = owner.class;
            charge.waited = charge.inode;
            if charge.target != owner.target {
                charge.target = owner.target;
                charge.origin = Origin::Writeback;
            }
            return charge;
        }
        if !is_watched {
            if task::is_of_the_kernel(task) {
                charge.origin = Origin::Writeback;
            }
            return charge;
        }
    }
    if is_watched {
        charge.class = class_of(bio, end, charge.inode, charge.target);
    }
    charge
}

/// How a bio is counted that was merged into a request which is counted by `first`, for pages of `inode`.
#[inline(always)]
pub fn of_merged(bio: Bio, inode: Addr, first: &DiskKey) -> DiskKey {
    if first.origin == Origin::Journal as u16 {
        return *first;
    }
    let host = host_of(bio.page());
    if host == inode {
        return *first;
    }
    // Who reads has it, not who has written it.
    let is_write = first.op == DiskOp::Write as u16;
    let owner = if host == 0 || !is_write { None } else { files::owner(host) };
    let (target, class, origin) = match owner {
        Some(owner) if owner.target == first.target => (owner.target, owner.class, first.origin),
        Some(owner) => (owner.target, owner.class, Origin::Writeback as u16),
        // By the same thread, unless a scheduler has put together what two have submitted.
        None if first.origin == Origin::Direct as u16 => (first.target, CLASS_OTHER, first.origin),
        None => (NO_TARGET, CLASS_OTHER, first.origin),
    };
    DiskKey { target, class, origin, ..*first }
}

/// The class of the file that a watched thread reads or writes.
#[inline(always)]
fn class_of(bio: Bio, end: u32, inode: Addr, target: u32) -> u32 {
    let file = if inode != 0 {
        File::of_inode(inode)
    } else if end == EndFunction::DirectIo as u32 {
        file_of_direct_io(bio.private())
    } else {
        None
    };
    match file {
        Some(file) if file.dentry != 0 => class::of(&file, target),
        _ => CLASS_OTHER,
    }
}

/// `struct iomap_dio` leads to the file that was opened.
#[inline(always)]
fn file_of_direct_io(dio: Addr) -> Option<File> {
    if volatile(&offsets().dio_iocb) == ABSENT || volatile(&offsets().dio_file) == ABSENT {
        return None;
    }
    let iocb: Addr = read::at(dio, offset!(dio_iocb))?;
    File::at(read::at(iocb, offset!(dio_file))?)
}

#[inline(always)]
fn end_function(address: Addr) -> u32 {
    END_FUNCTIONS.get(0).map_or(0, |known| known.tell(address))
}

/// The file system whose journal or log this is, if it is one: its device.
#[inline(always)]
fn journal(task: *const u8, bio: Bio, end: u32, page: Addr, charge: &Charge, dev: u32) -> Option<u32> {
    if end == EndFunction::Journal as u32 {
        return Some(dev);
    }
    if end == EndFunction::Buffer as u32 && volatile(&offsets().bh_end) != ABSENT {
        let buffer = bio.private();
        let thread = task::thread();
        // SAFETY: a number that is read at once, and the thread's own.
        if unsafe { JOURNALS.get(&thread) } == Some(&buffer) {
            let _ = JOURNALS.remove(&thread);
            return Some(dev);
        }
        if end_function(read::at(buffer, offset!(bh_end)).unwrap_or(0)) == EndFunction::Journal as u32 {
            return Some(dev);
        }
    }
    if is_jbd2(task) {
        // Revoke records are buffers like others. Beside the journal it writes the data of files, and nothing else.
        return (charge.inode == 0 || !is_file(charge.inode)).then_some(dev);
    }
    btrfs_log(page, charge.inode)
}

/// Whether the current thread is a journal's own (`kjournald2`, fs/jbd2/journal.c).
#[inline(always)]
fn is_jbd2(task: *const u8) -> bool {
    task::is_of_the_kernel(task) && rules::comm_of(task as Addr).is_some_and(|comm| comm[..5] == *b"jbd2/")
}

/// Whether an inode is that of a regular file.
#[inline(always)]
fn is_file(inode: Addr) -> bool {
    File::of_inode(inode).is_some()
}

/// Blocks of the log trees of btrfs are told by their extent buffer.
#[inline(always)]
fn btrfs_log(page: Addr, inode: Addr) -> Option<u32> {
    if inode == 0 || volatile(&offsets().eb_log) == ABSENT || volatile(&offsets().sb_magic) == ABSENT {
        return None;
    }
    if read::at::<u64>(inode, offset!(inode_ino))? != BTRFS_TREES {
        return None;
    }
    let sb: Addr = read::at(inode, offset!(inode_sb))?;
    if read::at::<u64>(sb, offset!(sb_magic))? != BTRFS {
        return None;
    }
    let buffer: Addr = read::at(page, offset!(page_private))?;
    if buffer == 0 || read::at::<i8>(buffer, offset!(eb_log))? < 0 {
        return None;
    }
    read::at(sb, offset!(sb_dev))
}
