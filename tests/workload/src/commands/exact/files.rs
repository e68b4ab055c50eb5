//! The files of one thread in one directory.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use stemedb_workload::sys::Mapping;

use super::ClassDir;

/// Largest write.
pub(super) const MAX_SIZE: usize = 8192;
/// Where writing starts over.
pub(super) const MAX_OFFSET: u64 = 1 << 20;
/// Pages that are mapped for msync.
pub(super) const PAGES: usize = 16;
/// The step of an msync; 64 KiB is a multiple of every page size.
pub(super) const PAGE: usize = 64 << 10;

/// The files of one thread in one directory, which are removed in the end. Making them writes nothing: lengths are
/// set, which leaves holes.
pub(super) struct Files {
    pub(super) class: String,
    /// What is written to, without a descriptor that appends.
    pub(super) out: File,
    /// `out`, but read-only.
    pub(super) read_only: File,
    /// What is copied from.
    pub(super) source: File,
    pub(super) mapped: Mapping,
    position: u64,
    paths: [PathBuf; 3],
}

impl Files {
    /// Creates the files of the thread with this number.
    pub(super) fn create(ClassDir { class, dir }: &ClassDir, thread: u64) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let name = format!("exact-{}-{thread}", std::process::id());
        let paths = ["out", "source", "mapped"].map(|kind| dir.join(format!("{name}.{kind}")));
        let out = create(&paths[0], 0)?;
        create(&paths[1], MAX_SIZE)?;
        let mut mapped = Mapping::new(&create(&paths[2], PAGES * PAGE)?, PAGES * PAGE)?;
        // A page that is first touched on a full disk would end the process.
        (0..PAGES).for_each(|page| mapped.set(page * PAGE, b'0'));
        let (read_only, source) = (File::open(&paths[0])?, File::open(&paths[1])?);
        Ok(Self { class: class.clone(), out, read_only, source, mapped, position: 0, paths })
    }

    /// Notes how far a call without an offset has got, and keeps the file small.
    pub(super) fn advance(&mut self, result: &io::Result<usize>) {
        self.position += result.as_ref().map_or(0, |bytes| *bytes as u64);
        if self.position > MAX_OFFSET && self.out.seek(SeekFrom::Start(0)).is_ok() {
            self.position = 0;
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.paths {
            fs::remove_file(path).ok();
        }
    }
}

fn create(path: &PathBuf, len: usize) -> Result<File> {
    let make = || -> io::Result<File> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(len as u64)?;
        Ok(file)
    };
    make().with_context(|| format!("cannot create {}", path.display()))
}

/// A pipe to splice from. What is written into it is not written to storage, and so is not counted.
pub(super) struct Pipe {
    pub(super) reader: PipeReader,
    writer: PipeWriter,
    held: usize,
}

impl Pipe {
    pub(super) fn new() -> Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, writer, held: 0 })
    }

    /// Makes the pipe hold at least as much as `data`.
    pub(super) fn fill(&mut self, data: &[u8]) {
        if let Some(missing) = data.get(self.held..)
            && self.writer.write_all(missing).is_ok()
        {
            self.held += missing.len();
        }
    }

    /// Notes how much has been spliced.
    pub(super) fn drained(&mut self, result: &io::Result<usize>) {
        self.held -= result.as_ref().map_or(0, |bytes| *bytes);
    }
}
