//! The full path of a file, as its own mount namespace sees it: dentries up to the root of a mount, then
//! on from the mount point, until the mount that is its own parent.

use super::maps::{PATH_MAX, SCRATCH, offset};
use super::read::{self, Addr};
use super::task;

/// Components and mounts that are followed.
const MAX_STEPS: usize = 48;
const NAME_MAX: u32 = 255;

/// What stands for no path.
const NONE: u64 = u64::MAX;

/// Builds the path of a `struct file` from the end of this processor's scratch buffer; returns where it begins.
#[inline(always)]
pub fn build(file: Addr) -> Option<usize> {
    start(path_build(file, 0, 0))
}

/// The same as the current process sees it, whose root may be elsewhere (`chroot(2)`).
#[inline(always)]
pub fn build_seen(file: Addr) -> Option<usize> {
    let fs: Addr = read::at(task::current() as Addr, offset!(task_fs))?;
    start(path_build(file, read::at(fs, offset!(fs_root_mnt))?, read::at(fs, offset!(fs_root_dentry))?))
}

#[inline(always)]
fn start(found: u64) -> Option<usize> {
    if found > PATH_MAX as u64 { None } else { Some(found as usize) }
}

/// Builds it up to a root, if that is met.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once, and not anew for every way that leads
/// to it. So is the one below.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn path_build(file: u64, root_mount: u64, root_dentry: u64) -> u64 {
    build_below(file, root_mount, root_dentry).unwrap_or(NONE)
}

#[inline(always)]
fn build_below(file: Addr, root_mount: Addr, root_dentry: Addr) -> Option<u64> {
    let mut dentry: Addr = read::at(file, offset!(file_dentry))?;
    let vfsmount: Addr = read::at(file, offset!(file_mnt))?;
    let mut mount = vfsmount - offset!(mount_mnt) as u64;
    let mut start = PATH_MAX as u64;
    for _ in 0..MAX_STEPS {
        if dentry == root_dentry && mount + offset!(mount_mnt) as u64 == root_mount {
            return Some(start);
        }
        let root: Addr = read::at(mount, offset!(mount_mnt) + offset!(vfsmount_root))?;
        let parent: Addr = read::at(dentry, offset!(dentry_parent))?;
        if dentry == root || dentry == parent {
            let above: Addr = read::at(mount, offset!(mount_parent))?;
            if above == mount {
                return Some(start);
            }
            dentry = read::at(mount, offset!(mount_point))?;
            mount = above;
            continue;
        }
        start = path_prepend(dentry, start);
        if start == NONE {
            return None;
        }
        dentry = parent;
    }
    None
}

/// Puts `/name` in front of what begins at `start`; where it begins then, or [`NONE`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn path_prepend(dentry: u64, start: u64) -> u64 {
    prepend(dentry, start as usize).map_or(NONE, |start| start as u64)
}

#[inline(always)]
fn prepend(dentry: Addr, start: usize) -> Option<usize> {
    // SAFETY: this processor's own buffer; nothing else uses it meanwhile.
    let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0)? };
    let from: Addr = read::at(dentry, offset!(dentry_name))?;
    let len: u32 = read::at(dentry, offset!(dentry_name_len))?;
    if len > NAME_MAX || (len as usize) + 1 > start {
        return None;
    }
    let len = len as usize & NAME_MAX as usize;
    let start = (start - len - 1) & (PATH_MAX - 1);
    scratch.path[start] = b'/';
    // SAFETY: `start` is below PATH_MAX and `len` at most 255, so this ends inside the 256 spare bytes.
    // The slice is made from raw parts because a slice index would be checked by code that can panic.
    let to = unsafe { core::slice::from_raw_parts_mut(scratch.path.as_mut_ptr().add(start + 1), len) };
    read::bytes(from, to)?;
    Some(start)
}
