//! A file that is appended to and synced, over and over, without growing.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stemedb_workload::Tally;

/// Where appending starts over.
const WRAP: u64 = 1 << 20;

/// A file of its own, which is removed in the end.
pub(crate) struct Appender {
    file: File,
    path: PathBuf,
    data: Vec<u8>,
    end: u64,
}

impl Appender {
    /// Creates the file in a directory; `index` tells it from those of the other threads.
    pub(crate) fn create(dir: &Path, index: u64, size: usize) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(format!("append-{}-{index}.log", std::process::id()));
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { file, path, data: vec![b'a'; size], end: 0 })
    }

    /// One write and one fdatasync. Their errors are in the tally.
    pub(crate) fn append(&mut self, tally: &mut Tally, class: &str) {
        self.write(tally, class);
        self.sync(tally, class);
    }

    /// The write alone.
    pub(crate) fn write(&mut self, tally: &mut Tally, class: &str) {
        if self.end > WRAP && self.file.seek(SeekFrom::Start(0)).is_ok() {
            self.end = 0;
        }
        self.end += tally.on(class).write(&self.file, &self.data).unwrap_or(0) as u64;
    }

    /// The fdatasync alone.
    pub(crate) fn sync(&mut self, tally: &mut Tally, class: &str) {
        tally.on(class).fdatasync(&self.file).ok();
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}
