//! What a class's directories hold: bytes on disk and number of files; and what is left of the file system that they are on.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that the file system has set aside for the files (`st_blocks`, in units of 512: stat(2)).
    pub disk_bytes: u64,
    /// Regular files.
    pub files: u64,
    /// The file system of the directories; of several, the fullest.
    pub filesystem: Filesystem,
}

/// How large a file system is, and how much of it is left (statvfs(3)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Bytes in all.
    pub size: u64,
    /// Bytes that a process without privileges can still write.
    pub available: u64,
}

impl Filesystem {
    fn of(path: &Path) -> Option<Self> {
        let stat = statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
        Some(Self { size: bytes(stat.blocks()), available: bytes(stat.blocks_available()) })
    }

    /// Which is fuller: less is left of the whole. One without a size is the emptiest.
    fn fuller(self, other: Self) -> Self {
        let left = |one: Self, whole: Self| u128::from(one.available) * u128::from(whole.size);
        if self.size == 0 || other.size != 0 && left(other, self) < left(self, other) { other } else { self }
    }
}

/// Device and inode number of a file.
pub type Identity = (u64, u64);

/// Adds up everything below the directories but what is in others. A file that goes away meanwhile is not counted.
#[must_use]
pub fn measure(directories: &[PathBuf], others: &BTreeSet<Identity>) -> Usage {
    let mut usage = Usage::default();
    // One directory may be seen in several mount namespaces, and one file under several names.
    let mut seen = HashSet::new();
    for directory in directories {
        usage.filesystem = Filesystem::of(directory).map_or(usage.filesystem, |here| usage.filesystem.fuller(here));
        let is_other = |entry: &walkdir::DirEntry| {
            entry.file_type().is_dir() && entry.metadata().is_ok_and(|stat| others.contains(&(stat.dev(), stat.ino())))
        };
        let below = walkdir::WalkDir::new(directory).follow_root_links(true).into_iter();
        let below = below.filter_entry(|entry| entry.depth() == 0 || !is_other(entry)).filter_map(Result::ok);
        for stat in below.filter(|entry| entry.file_type().is_file()).filter_map(|entry| entry.metadata().ok()) {
            if !seen.insert((stat.dev(), stat.ino())) {
                continue;
            }
            usage.disk_bytes += stat.blocks() * 512;
            usage.files += 1;
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_file_systems_the_fullest_counts() {
        let one = |size, available| Filesystem { size, available };
        assert_eq!(one(100, 50).fuller(one(1_000, 100)), one(1_000, 100));
        assert_eq!(one(1_000, 100).fuller(one(100, 50)), one(1_000, 100));
        // One without a size (proc, say) tells nothing.
        assert_eq!(one(0, 0).fuller(one(100, 50)), one(100, 50));
        assert_eq!(one(100, 50).fuller(one(0, 0)), one(100, 50));
    }

    #[test]
    fn files_are_counted_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/a"), vec![1; 10_000]).unwrap();
        std::fs::write(dir.path().join("b"), b"").unwrap();
        std::fs::hard_link(dir.path().join("b"), dir.path().join("c")).unwrap();
        // Twice, as from two mount namespaces.
        let usage = super::measure(&[dir.path().to_owned(), dir.path().to_owned()], &BTreeSet::new());
        assert_eq!(usage.files, 2);
        assert!(usage.filesystem.available > 0 && usage.filesystem.size >= usage.filesystem.available);
        assert!(usage.disk_bytes >= 10_000 && usage.disk_bytes.is_multiple_of(512));
        // Of another class.
        let sub = std::fs::metadata(dir.path().join("sub")).unwrap();
        let without = super::measure(&[dir.path().to_owned()], &BTreeSet::from([(sub.dev(), sub.ino())]));
        assert_eq!((without.files, without.disk_bytes), (1, 0));
    }
}
