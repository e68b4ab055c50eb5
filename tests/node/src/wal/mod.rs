//! A write-ahead log: numbered segments, group commit, checksums, recovery.
//!
//! An entry is acknowledged once it is on the disk. Entries are numbered from 1 without a gap; a segment is named after its first one.
//! One thread writes: it takes what has come together, writes it with one call, makes it durable with one `fdatasync`, and answers all
//! of them. A write or a sync that fails ends the log: what the kernel has kept of it is not known any more (pages are marked clean by a failed
//! sync), so nothing is acknowledged until a restart has read what is there.

mod frame;
mod recover;
mod segment;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

pub use frame::MAX_PAYLOAD;
pub use recover::{Recovered, Tail};
pub use writer::{Append, Counts, OnCommit, Place, Wal};

/// How the log is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder; made where it is not there.
    pub folder: PathBuf,
    /// A segment of at least so many bytes is the last one no longer.
    pub segment_bytes: u64,
    /// At most so many entries are committed at once.
    pub batch_entries: usize,
    /// Entries that may wait; more have to wait to be taken.
    pub queue: usize,
}

impl Options {
    /// In a folder, with sizes for a server.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), segment_bytes: 8 << 20, batch_entries: 1_024, queue: 4_096 }
    }
}

/// What went wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call on a file or a folder failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// An entry before the end of the log is not what was written.
    #[error(
        "{path} is damaged at byte {offset}, and whole entries follow in later segments: restore it from a backup or a replica, or move \
         it and what follows away to go on without those entries"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// A segment is missing.
    #[error(
        "entries {from} to {to} are missing before {path}: restore the segment that has them, or move this one and what follows away"
    )]
    Gap {
        /// The segment after the gap.
        path: PathBuf,
        /// The first that is missing.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The log ends before what was made of it.
    #[error(
        "the log in {path} ends at entry {last}, and what was made of it has all up to {reader}: restore the segments that are missing, or \
         move the log away to go on without it"
    )]
    Short {
        /// Its folder.
        path: PathBuf,
        /// Its last entry.
        last: u64,
        /// The last entry that its reader has.
        reader: u64,
    },
    /// The folder is another process's.
    #[error("{path} is in use by another process")]
    InUse {
        /// The lock's file.
        path: PathBuf,
    },
    /// An entry is too large.
    #[error("an entry of {size} bytes is larger than {MAX_PAYLOAD}")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// A write or a sync has failed before; only a restart helps.
    #[error("the log has failed and takes nothing until a restart: {0}")]
    Failed(String),
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
}

impl Error {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
