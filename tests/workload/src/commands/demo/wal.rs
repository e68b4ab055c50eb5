//! The write-ahead log: segments that are written by one committer.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::mpsc::Sender;

use anyhow::{Context, Result};
use stemedb_workload::Tally;

use super::queue::{Entry, Queue};

const CLASS: &str = "wal";
/// Where a segment ends.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Segments that are kept.
const SEGMENTS: usize = 8;
/// Most parts of one `writev` (`IOV_MAX`).
const MAX_PARTS: usize = 1024;

/// The log, open at its newest segment.
pub(super) struct Wal {
    dir: PathBuf,
    /// The directory itself, which is synced when a segment is new.
    dir_file: File,
    file: File,
    end: u64,
    number: u64,
    segments: VecDeque<PathBuf>,
    tally: Tally,
}

impl Wal {
    /// Starts the log with its first segment.
    pub(super) fn open(dir: PathBuf) -> Result<Self> {
        let dir_file = File::open(&dir)?;
        let path = dir.join(segment_name(0));
        let file = create(&path)?;
        Ok(Self { dir, dir_file, file, end: 0, number: 0, segments: [path].into(), tally: Tally::new() })
    }

    /// Commits what comes through the queue until it is closed, and passes the entries on.
    pub(super) fn serve(mut self, queue: &Queue, commits: &Sender<Entry>) -> Result<Tally> {
        let result = self.commit_all(queue, commits);
        // Should the log have failed, then no client may wait for it.
        queue.close();
        result.map(|()| self.tally)
    }

    fn commit_all(&mut self, queue: &Queue, commits: &Sender<Entry>) -> Result<()> {
        while let Some(entries) = queue.take() {
            if self.end >= SEGMENT_BYTES {
                self.rotate()?;
            }
            self.append(&entries);
            self.tally.on(CLASS).fdatasync(&self.file).ok();
            queue.committed(entries.len());
            for entry in entries {
                commits.send(entry)?;
            }
        }
        Ok(())
    }

    /// Writes a group; errors are in the tally.
    fn append(&mut self, entries: &[Entry]) {
        let mut calls = self.tally.on(CLASS);
        for part in entries.chunks(MAX_PARTS) {
            let written = if let [entry] = part {
                calls.write(&self.file, entry)
            } else {
                let slices: Vec<_> = part.iter().map(|entry| IoSlice::new(entry)).collect();
                calls.writev(&self.file, &slices)
            };
            self.end += written.unwrap_or(0) as u64;
        }
    }

    /// Starts the next segment, makes its name durable, and removes the oldest.
    fn rotate(&mut self) -> Result<()> {
        self.number += 1;
        let path = self.dir.join(segment_name(self.number));
        self.file = create(&path)?;
        self.end = 0;
        self.segments.push_back(path);
        self.tally.on(CLASS).fsync(&self.dir_file).ok();
        if self.segments.len() > SEGMENTS
            && let Some(oldest) = self.segments.pop_front()
        {
            fs::remove_file(&oldest).with_context(|| format!("cannot remove {}", oldest.display()))?;
        }
        Ok(())
    }
}

fn segment_name(number: u64) -> String {
    format!("{number:06}.log")
}

fn create(path: &PathBuf) -> Result<File> {
    File::create_new(path).with_context(|| format!("cannot create {}", path.display()))
}
