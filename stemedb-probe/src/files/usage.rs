//! What a class's directories hold: bytes on disk and number of files.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that the file system has set aside for the files (`st_blocks`, in units of 512: stat(2)).
    pub disk_bytes: u64,
    /// Regular files.
    pub files: u64,
}

/// Adds up everything below the directories. A file that goes away meanwhile is not counted.
#[must_use]
pub fn measure(directories: &[PathBuf]) -> Usage {
    let mut usage = Usage::default();
    // One directory may be seen in several mount namespaces, and one file under several names.
    let mut seen = HashSet::new();
    for directory in directories {
        let below = walkdir::WalkDir::new(directory).follow_root_links(true).into_iter().filter_map(Result::ok);
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
    #[test]
    fn files_are_counted_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/a"), vec![1; 10_000]).unwrap();
        std::fs::write(dir.path().join("b"), b"").unwrap();
        std::fs::hard_link(dir.path().join("b"), dir.path().join("c")).unwrap();
        // Twice, as from two mount namespaces.
        let usage = super::measure(&[dir.path().to_owned(), dir.path().to_owned()]);
        assert_eq!(usage.files, 2);
        assert!(usage.disk_bytes >= 10_000 && usage.disk_bytes.is_multiple_of(512));
    }
}
