//! The full path of a file, as its own mount namespace sees it: dentries up to the root of a mount, then
//! on from the mount point, until the mount that is its own parent.

use super::maps::{PATH_MAX, Scratch, offset};
use super::read::{self, Addr};
use super::task;

/// Components and mounts that are followed.
const MAX_STEPS: usize = 48;
const NAME_MAX: u32 = 255;

/// Builds the path of a `struct file` from the end of the scratch buffer; returns where it begins.
#[inline(always)]
pub fn build(file: Addr, scratch: &mut Scratch) -> Option<usize> {
    build_below(file, Root { mount: 0, dentry: 0 }, scratch)
}

/// The same as the current process sees it, whose root may be elsewhere (`chroot(2)`).
#[inline(always)]
pub fn build_seen(file: Addr, scratch: &mut Scratch) -> Option<usize> {
    let fs: Addr = read::at(task::current() as Addr, offset!(task_fs))?;
    let root = Root { mount: read::at(fs, offset!(fs_root_mnt))?, dentry: read::at(fs, offset!(fs_root_dentry))? };
    build_below(file, root, scratch)
}

/// `struct path`
#[derive(Clone, Copy)]
struct Root {
    mount: Addr,
    dentry: Addr,
}

#[inline(always)]
fn build_below(file: Addr, seen: Root, scratch: &mut Scratch) -> Option<usize> {
    let mut dentry: Addr = read::at(file, offset!(file_dentry))?;
    let vfsmount: Addr = read::at(file, offset!(file_mnt))?;
    let mut mount = vfsmount - offset!(mount_mnt) as u64;
    let mut start = PATH_MAX;
    for _ in 0..MAX_STEPS {
        if dentry == seen.dentry && mount + offset!(mount_mnt) as u64 == seen.mount {
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
        start = prepend(dentry, start, scratch)?;
        dentry = parent;
    }
    None
}

/// Puts `/name` in front of what is there.
#[inline(always)]
fn prepend(dentry: Addr, start: usize, scratch: &mut Scratch) -> Option<usize> {
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
