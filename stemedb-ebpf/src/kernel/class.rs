//! The class of a file: by the rules for names, then by the first class directory above it.

use stemedb_ebpf::glob::START;
use stemedb_ebpf::tables::dir_bucket;
use stemedb_ebpf::{
    ANYWHERE, CHILD_NAME, CLASS_OTHER, ChildKey, DirEntry, Lost, MAX_CLASS_RULES, MAX_DEPTH, MAX_MISSING, MAX_TARGETS,
    NO_CLASS,
};

use super::file::File;
use super::maps::{CHILDREN, CLASS_RULES, DIRS, lost, offset, setting};
use super::read::{self, Addr};

/// The class of `file` for `target`.
#[inline(always)]
pub fn of(file: &File, target: u32) -> u32 {
    if setting!(class_rules) != 0
        && let Some(class) = by_name(file.dentry, target)
    {
        return class;
    }
    class_by_directory(file.dentry, u64::from(target), u64::from(file.is_dir())) as u32
}

/// Walks up `d_parent` until a class directory is met. A directory is of its own class.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once for a program, and not anew for every
/// way that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn class_by_directory(dentry: u64, target: u64, is_dir: u64) -> u64 {
    u64::from(by_directory(dentry, is_dir != 0, target as u32))
}

#[inline(always)]
fn by_directory(dentry: Addr, is_dir: bool, target: u32) -> u32 {
    // The directories just passed, nearest first: the way down to a class directory that was not there
    // when the agent looked.
    let mut passed = [0_u64; MAX_MISSING];
    let mut at = if is_dir { dentry } else { parent_of(dentry) };
    for _ in 0..MAX_DEPTH {
        let inode: Addr = read::at(at, offset!(dentry_inode)).unwrap_or(0);
        if inode == 0 {
            lost(Lost::KernelRead);
            return CLASS_OTHER;
        }
        if let Some(class) = directory(inode, target, &passed) {
            return class;
        }
        if has_named_directories(target) {
            let class = class_by_own_name(at, u64::from(target)) as u32;
            if class != NO_CLASS {
                return class;
            }
        }
        passed = [at, passed[0], passed[1], passed[2]];
        at = parent_of(at);
        if at == passed[0] {
            return CLASS_OTHER;
        }
    }
    lost(Lost::ClassDepth);
    CLASS_OTHER
}

#[inline(always)]
fn has_named_directories(target: u32) -> bool {
    const { assert!(MAX_TARGETS == 128) }
    let (lower, upper) = (setting!(named_directories[0]), setting!(named_directories[1]));
    // The verifier knows these, and looks at what follows only where there are any.
    if lower | upper == 0 {
        return false;
    }
    // Without a branch, which would be two ways for it at each directory.
    let is_upper = u64::from(target >> 6 & 1).wrapping_neg();
    (lower & !is_upper | upper & is_upper) >> (target & 63) & 1 != 0
}

/// The directory above; 0, which cannot be read either, where that cannot be read.
#[inline(always)]
fn parent_of(dentry: Addr) -> Addr {
    read::at(dentry, offset!(dentry_parent)).unwrap_or(0)
}

/// The class that a directory gives to a file below it.
#[inline(always)]
fn directory(inode: Addr, target: u32, passed: &[u64; MAX_MISSING]) -> Option<u32> {
    let entry = dir_at(inode, target)?;
    let same = read::at(inode, offset!(inode_ino)) == Some(entry.ino)
        && read::at(inode, offset!(inode_generation)) == Some(entry.generation);
    if !same {
        return None;
    }
    if entry.children != 0 {
        let class = class_by_names_below(inode, u64::from(target), passed) as u32;
        if class != NO_CLASS {
            return Some(class);
        }
    }
    (entry.class != NO_CLASS).then_some(entry.class)
}

/// The entry of a directory.
#[inline(always)]
fn dir_at(inode: Addr, target: u32) -> Option<DirEntry> {
    let places = DIRS.get_ptr(dir_bucket(inode as u32, target))?;
    // SAFETY: in bounds.
    for place in unsafe { &*places } {
        // SAFETY: of a reference; the agent writes the inode last.
        if unsafe { (&raw const place.inode).read_volatile() } == inode && place.target == target {
            return Some(*place);
        }
    }
    None
}

/// The class that a directory's name gives, wherever it is, or [`NO_CLASS`]. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn class_by_own_name(dentry: u64, target: u64) -> u64 {
    u64::from(anywhere(dentry, target as u32).unwrap_or(NO_CLASS))
}

#[inline(always)]
fn anywhere(dentry: Addr, target: u32) -> Option<u32> {
    let mut key = ChildKey { parent: ANYWHERE, target, zero: 0, name: [0; CHILD_NAME] };
    if !name_of(dentry, &mut key.name) {
        return None;
    }
    // SAFETY: as in `directory`.
    unsafe { CHILDREN.get(&key) }.map(|entry| entry.class)
}

/// The class that a directory gives by the names of those just passed below it, or [`NO_CLASS`]. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn class_by_names_below(inode: u64, target: u64, passed: *const [u64; MAX_MISSING]) -> u64 {
    // SAFETY: the verifier has it checked that a pointer is not null, and knows how much is behind it.
    let Some(passed) = (unsafe { passed.as_ref() }) else { return u64::from(NO_CLASS) };
    u64::from(child(inode, target as u32, passed))
}

/// Follows names down from a directory to a class directory.
#[inline(always)]
fn child(inode: Addr, target: u32, passed: &[u64; MAX_MISSING]) -> u32 {
    let mut key = ChildKey { parent: inode, target, zero: 0, name: [0; CHILD_NAME] };
    let mut found = NO_CLASS;
    for dentry in passed {
        if *dentry == 0 || !name_of(*dentry, &mut key.name) {
            break;
        }
        // SAFETY: as in `directory`.
        let Some(entry) = (unsafe { CHILDREN.get(&key) }).copied() else { break };
        if entry.class != NO_CLASS {
            found = entry.class;
        }
        if entry.below == 0 {
            break;
        }
        key.parent = u64::from(entry.below);
    }
    found
}

/// Copies a dentry's name, padded with zeros; false where it is too long to be a class directory's.
#[inline(always)]
fn name_of(dentry: Addr, name: &mut [u8; CHILD_NAME]) -> bool {
    let (Some(from), Some(len)) =
        (read::at::<Addr>(dentry, offset!(dentry_name)), read::at::<u32>(dentry, offset!(dentry_name_len)))
    else {
        return false;
    };
    if len as usize >= CHILD_NAME {
        return false;
    }
    *name = [0; CHILD_NAME];
    let len = len as usize & (CHILD_NAME - 1);
    read::bytes(from, &mut name[..len]).is_some()
}

/// The class that a rule gives to the file's name.
#[inline(never)]
fn by_name(dentry: Addr, target: u32) -> Option<u32> {
    let mut name = [0_u8; CHILD_NAME];
    if !name_of(dentry, &mut name) {
        lost(Lost::NameLength);
        return None;
    }
    for i in 0..MAX_CLASS_RULES as u32 {
        if i >= setting!(class_rules) {
            break;
        }
        let rule = CLASS_RULES.get(i)?;
        if rule.target != target {
            continue;
        }
        if class_name_matches(u64::from(i), &raw const name) != 0 {
            return Some(rule.class);
        }
    }
    None
}

/// Whether a name is what the rule of a number wants. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn class_name_matches(rule: u64, name: *const [u8; CHILD_NAME]) -> u64 {
    // SAFETY: as in `class_by_names_below`.
    let (Some(rule), Some(name)) = (CLASS_RULES.get(rule as u32), unsafe { name.as_ref() }) else { return 0 };
    let mut state = START;
    for byte in name {
        if *byte == 0 {
            break;
        }
        state = rule.glob.step(state, *byte);
    }
    u64::from(state & rule.glob.accept != 0)
}
