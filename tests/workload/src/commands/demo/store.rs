//! The store: pages that are written in place, and made durable by checkpoints.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stemedb_workload::Tally;
use stemedb_workload::rng::XorShift;

use super::queue::Entry;

const CLASS: &str = "store";
const PAGE: usize = 4096;
const PAGES: u64 = 4096;
/// Time between checkpoints.
const CHECKPOINT: Duration = Duration::from_millis(200);

/// The file of pages.
pub(super) struct Store {
    file: File,
    page: [u8; PAGE],
    rng: XorShift,
    dirty: bool,
    tally: Tally,
}

impl Store {
    /// Makes the file at its full length, without writing to it.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("data.db");
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.set_len(PAGES * PAGE as u64)?;
        Ok(Self { file, page: [0; PAGE], rng: XorShift::new(0), dirty: false, tally: Tally::new() })
    }

    /// Applies committed entries until no more can come.
    pub(super) fn serve(mut self, committed: &Receiver<Entry>) -> Tally {
        let mut next = Instant::now() + CHECKPOINT;
        loop {
            match committed.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(entry) => self.apply(&entry),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= next {
                self.checkpoint();
                next = Instant::now() + CHECKPOINT;
            }
        }
        self.checkpoint();
        self.tally
    }

    /// Writes the page that the entry belongs to; errors are in the tally.
    fn apply(&mut self, entry: &[u8]) {
        let len = entry.len().min(PAGE);
        self.page[..len].copy_from_slice(&entry[..len]);
        let offset = self.rng.below(PAGES) * PAGE as u64;
        self.tally.on(CLASS).pwrite(&self.file, &self.page, offset).ok();
        self.dirty = true;
    }

    /// Makes the pages durable, if any was written.
    fn checkpoint(&mut self) {
        if self.dirty {
            self.tally.on(CLASS).fsync(&self.file).ok();
            self.dirty = false;
        }
    }
}
