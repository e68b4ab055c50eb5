//! Opens a directory as a process sees it, without ever leaving that process's root.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use stemedb_ebpf::{CHILD_NAME, MAX_MISSING};

/// Whose view of the file system a path is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    /// The agent's.
    Own,
    /// That of a process, by its pid.
    Of(u32),
}

impl Root {
    /// The path of the root itself.
    #[must_use]
    pub fn path(self) -> PathBuf {
        match self {
            Self::Own => PathBuf::from("/"),
            Self::Of(pid) => PathBuf::from(format!("/proc/{pid}/root")),
        }
    }
}

/// Where a class directory is, or will be.
#[derive(Debug)]
pub struct Located {
    /// The directory, when it exists.
    pub directory: Option<OwnedFd>,
    /// The nearest directory above it that exists, and the names from there down to it.
    pub anchor: Option<(OwnedFd, Vec<OsString>)>,
}

/// Looks for a directory.
pub fn locate(root: Root, path: &Path) -> io::Result<Located> {
    /// A file system may count no links at all.
    const TIMES: usize = 5;
    let base = open_at(libc::AT_FDCWD, &root.path(), 0)?;
    let mut left = TIMES;
    loop {
        left -= 1;
        match open_in(&base, path) {
            Ok(directory) => {
                let anchor = parent_of(&directory);
                // Of one that was removed meanwhile the name is not what it was; another may be there by now.
                if left == 0 || !is_unlinked(&directory) {
                    return Ok(Located { directory: Some(directory), anchor });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Located { directory: None, anchor: nearest(&base, path) });
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether an open directory has no name any more.
#[must_use]
pub fn is_unlinked(directory: &OwnedFd) -> bool {
    std::fs::metadata(self_fd(directory)).is_ok_and(|metadata| metadata.nlink() == 0)
}

/// The parent of an open directory, and its name there.
fn parent_of(directory: &OwnedFd) -> Option<(OwnedFd, Vec<OsString>)> {
    let path = std::fs::read_link(self_fd(directory)).ok()?;
    let name = path.file_name()?.to_owned();
    let parent = open_at(directory.as_raw_fd(), Path::new(".."), 0).ok()?;
    usable(&[name]).map(|names| (parent, names))
}

/// The nearest existing directory above a path, and the names that are missing.
fn nearest(base: &OwnedFd, path: &Path) -> Option<(OwnedFd, Vec<OsString>)> {
    // Not the path itself, which may be there by now: then the next look finds it, and until then its name is enough.
    let mut missing = vec![path.file_name()?.to_owned()];
    for ancestor in path.ancestors().skip(1) {
        if let Ok(found) = open_in(base, ancestor) {
            missing.reverse();
            return usable(&missing).map(|names| (found, names));
        }
        missing.push(ancestor.file_name()?.to_owned());
    }
    None
}

/// Names that the kernel side can follow.
fn usable(names: &[OsString]) -> Option<Vec<OsString>> {
    let short = names.iter().all(|name| name.len() < CHILD_NAME);
    (short && names.len() <= MAX_MISSING).then(|| names.to_vec())
}

/// The path by which this process can name one of its descriptors.
#[must_use]
pub fn self_fd(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn open_in(base: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    open_at(base.as_raw_fd(), path, libc::RESOLVE_IN_ROOT)
}

/// `openat2(2)` (5.6) for a directory that is only named, not read: such a descriptor needs no permission on it, and it is
/// closed again before the agent goes on, so that nothing keeps a file system from being unmounted.
fn open_at(at: RawFd, path: &Path, resolve: u64) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all fields of the structure are integers, for which zero is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC).cast_unsigned());
    how.resolve = resolve;
    // SAFETY: the path and the structure outlive the call.
    let fd =
        unsafe { libc::syscall(libc::SYS_openat2, at, path.as_ptr(), &raw const how, size_of::<libc::open_how>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_found_by_its_parent_and_name() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        std::fs::create_dir(&wal).unwrap();
        let found = locate(Root::Own, &wal).unwrap();
        assert!(found.directory.is_some());
        assert_eq!(found.anchor.unwrap().1, ["wal"]);
    }

    #[test]
    fn a_missing_one_by_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let found = locate(Root::Own, &dir.path().join("a/b/wal")).unwrap();
        assert!(found.directory.is_none());
        assert_eq!(found.anchor.unwrap().1, ["a", "b", "wal"]);
        assert!(locate(Root::Own, &dir.path().join("1/2/3/4/5")).unwrap().anchor.is_none());
    }

    #[test]
    fn a_symlink_leads_to_the_real_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("wal")).unwrap();
        assert_eq!(locate(Root::Own, &dir.path().join("wal")).unwrap().anchor.unwrap().1, ["real"]);
    }
}
