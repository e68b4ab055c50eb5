//! Files of the log: their names, how one is made, and what is in the folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Error;

/// What a segment's name ends with.
const ENDING: &str = ".wal";
/// Digits of a name, so that names are in the order of numbers.
const DIGITS: usize = 20;

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of its first entry.
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(folder: &Path, first: u64) -> Self {
        Self { first, path: folder.join(format!("{first:0DIGITS$}{ENDING}")) }
    }

    /// Makes the file, and makes its name durable: without that, a crash may leave no segment where there was an acknowledged entry.
    pub(super) fn create(&self, folder: &Folder) -> Result<File, Error> {
        let mut options = File::options();
        let file = options.append(true).create_new(true).open(&self.path).map_err(Error::io("create", &self.path))?;
        folder.sync()?;
        Ok(file)
    }
}

/// The folder of the log.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    file: File,
    /// Calls of `fsync`, of this folder and of files in it.
    pub(super) fsyncs: AtomicU64,
    /// Held while the log is open.
    _lock: File,
}

impl Folder {
    /// Opens it for this process alone; makes it where it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(Error::io("make", path))?;
        // Beside the folder's segments, and no part of the log.
        let place = path.join("lock");
        let lock = File::options().write(true).create(true).truncate(false).open(&place);
        let lock = lock.map_err(Error::io("open", &place))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::InUse { path: place }),
            Err(fs::TryLockError::Error(source)) => return Err(Error::Io { what: "lock", path: place, source }),
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self { path: path.to_owned(), file, fsyncs: AtomicU64::new(0), _lock: lock })
    }

    /// Makes names durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.sync_all(&self.file, &self.path)
    }

    /// Makes all of a file durable.
    pub(super) fn sync_all(&self, file: &File, path: &Path) -> Result<(), Error> {
        file.sync_all().map_err(Error::io("sync", path))?;
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The segments, in order.
    pub(super) fn segments(&self) -> Result<Vec<Segment>, Error> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::io("read", &self.path))? {
            let path = entry.map_err(Error::io("read", &self.path))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
            let number = name.filter(|name| name.len() == DIGITS).and_then(|name| name.parse().ok());
            segments.extend(number.map(|first| Segment { first, path }));
        }
        segments.sort_by_key(|segment| segment.first);
        Ok(segments)
    }
}
