//! The thread that writes, and those who ask it to.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::{Permit, Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::frame::{self, MAX_PAYLOAD};
use super::recover::{Recovered, recover};
use super::segment::{Folder, Segment};
use super::{Error, Options};

/// Told of a group commit, in the order of the entries, before those who wait are.
pub type OnCommit = Box<dyn FnMut(&[(u64, Vec<u8>)]) + Send>;

/// What the log itself counts: what the kernel should have seen as well.
#[derive(Debug, Default)]
pub struct Counts {
    /// Entries that were acknowledged.
    pub entries: AtomicU64,
    /// Group commits: one `write` and one `fdatasync` each.
    pub commits: AtomicU64,
    /// Bytes of these writes.
    pub bytes: AtomicU64,
    /// Segments that were begun.
    pub segments: AtomicU64,
    /// Writes and syncs that failed.
    pub failures: AtomicU64,
}

/// An entry that is to be written.
#[derive(Debug)]
struct Request {
    payload: Vec<u8>,
    answer: oneshot::Sender<Result<u64, Error>>,
}

/// An entry that has been taken; it is on the disk when this is ready.
#[derive(Debug)]
pub struct Append(oneshot::Receiver<Result<u64, Error>>);

impl Append {
    /// Waits for the entry's number.
    pub async fn wait(self) -> Result<u64, Error> {
        self.0.await.unwrap_or(Err(Error::Closed))
    }

    /// The same on a thread that may block.
    pub fn wait_here(self) -> Result<u64, Error> {
        self.0.blocking_recv().unwrap_or(Err(Error::Closed))
    }
}

/// A place for an entry.
#[derive(Debug)]
pub struct Place<'a>(Permit<'a, Request>);

impl Place<'_> {
    /// Has an entry written; entries are in the order of these calls.
    pub fn send(self, payload: Vec<u8>) -> Result<Append, Error> {
        let (request, append) = request(payload)?;
        self.0.send(request);
        Ok(append)
    }
}

fn request(payload: Vec<u8>) -> Result<(Request, Append), Error> {
    if payload.len() > MAX_PAYLOAD {
        return Err(Error::TooLarge { size: payload.len() });
    }
    let (answer, wait) = oneshot::channel();
    Ok((Request { payload, answer }, Append(wait)))
}

/// A log that is open for writing. It is closed when the last of its handles is gone.
#[derive(Debug)]
pub struct Wal {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the writing thread and its askers share.
#[derive(Debug)]
struct Shared {
    folder: Folder,
    counts: Counts,
    /// All segments but the one that is written to.
    closed: Mutex<Vec<Segment>>,
    /// Why nothing is written any more.
    failed: Mutex<Option<String>>,
}

impl Wal {
    /// Recovers the log, handing on the entries from `from` on, and opens it.
    pub fn open(
        options: &Options,
        from: u64,
        take: impl FnMut(u64, &[u8]),
        on_commit: OnCommit,
    ) -> Result<(Self, Recovered), Error> {
        let folder = Folder::open(&options.folder)?;
        let (recovered, mut segments) = recover(&folder, from, take)?;
        let next = recovered.last + 1;
        let shared =
            Arc::new(Shared { folder, counts: Counts::default(), closed: Mutex::default(), failed: Mutex::default() });
        let (segment, file) = match segments.pop() {
            Some(segment) => {
                let file =
                    File::options().append(true).open(&segment.path).map_err(Error::io("open", &segment.path))?;
                // What was written before a crash and not made durable is served from here on.
                shared.folder.sync_all(&file, &segment.path)?;
                (segment, file)
            }
            None => begin(&shared, next)?,
        };
        *shared.closed.lock().unwrap_or_else(PoisonError::into_inner) = segments;
        let size = file.metadata().map_err(Error::io("look at", &segment.path))?.len();
        let (sender, requests) = channel(options.queue);
        let writer = Writer { shared: shared.clone(), options: options.clone(), segment, file, size, next, on_commit };
        let thread = thread::Builder::new().name("wal".into()).spawn(move || writer.run(requests));
        let thread = thread.map_err(Error::io("start the thread of", &options.folder))?;
        Ok((Self { requests: Some(sender), thread: Some(thread), shared }, recovered))
    }

    /// Waits for a place among the entries that wait to be written.
    pub async fn reserve(&self) -> Result<Place<'_>, Error> {
        let place = self.requests.as_ref().ok_or(Error::Closed)?.reserve().await;
        place.map(Place).map_err(|_| Error::Closed)
    }

    /// Has an entry written by a thread that may block.
    pub fn append_here(&self, payload: Vec<u8>) -> Result<Append, Error> {
        let (request, append) = request(payload)?;
        self.requests.as_ref().ok_or(Error::Closed)?.blocking_send(request).map_err(|_| Error::Closed)?;
        Ok(append)
    }

    /// Whether entries are still taken.
    pub fn check(&self) -> Result<(), Error> {
        match &*self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(Error::Failed(why.clone())),
            None => Ok(()),
        }
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Calls of `fsync`: one of the folder for each segment that is begun and each time that some are removed, and those of a recovery.
    #[must_use]
    pub fn fsyncs(&self) -> u64 {
        self.shared.folder.fsyncs.load(Ordering::Relaxed)
    }

    /// Segments, the one that is written to included.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.shared.closed.lock().unwrap_or_else(PoisonError::into_inner).len() + 1
    }

    /// Removes the segments that have no entry from `first` on: what is in them is elsewhere.
    pub fn forget_before(&self, first: u64) -> Result<usize, Error> {
        let mut closed = self.shared.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut removed = 0;
        // A segment ends where the next begins; the last of the closed ones is kept, whose end is not known here.
        while closed.get(1).is_some_and(|next| next.first <= first) {
            let segment = closed.remove(0);
            fs::remove_file(&segment.path).map_err(Error::io("remove", &segment.path))?;
            removed += 1;
        }
        if removed > 0 {
            self.shared.folder.sync()?;
        }
        Ok(removed)
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that writes the log has panicked");
        }
    }
}

fn begin(shared: &Shared, first: u64) -> Result<(Segment, File), Error> {
    let segment = Segment::new(&shared.folder.path, first);
    let file = segment.create(&shared.folder)?;
    shared.counts.segments.fetch_add(1, Ordering::Relaxed);
    Ok((segment, file))
}

/// The thread's own.
struct Writer {
    shared: Arc<Shared>,
    options: Options,
    segment: Segment,
    file: File,
    size: u64,
    next: u64,
    on_commit: OnCommit,
}

impl Writer {
    fn run(mut self, mut requests: Receiver<Request>) {
        let mut batch = Vec::new();
        // Waits for one, and takes with it what has come meanwhile.
        while requests.blocking_recv_many(&mut batch, self.options.batch_entries) > 0 {
            let (entries, answers): (Vec<_>, Vec<_>) = batch
                .drain(..)
                .zip(self.next..)
                .map(|(request, number)| ((number, request.payload), request.answer))
                .unzip();
            let result = self.commit(&entries);
            if result.is_ok() {
                (self.on_commit)(&entries);
            }
            for ((number, _), answer) in entries.iter().zip(answers) {
                let answered = result.as_ref().map(|()| *number).map_err(|why| Error::Failed(why.clone()));
                // Who asked may have gone.
                let _ = answer.send(answered);
            }
        }
    }

    /// Makes entries durable, or says why not. After a failure nothing is written any more.
    fn commit(&mut self, entries: &[(u64, Vec<u8>)]) -> Result<(), String> {
        if let Some(why) = &*self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(why.clone());
        }
        self.write(entries).map_err(|error| {
            log::error!("the log has failed: {error}");
            self.shared.counts.failures.fetch_add(1, Ordering::Relaxed);
            let why = error.to_string();
            *self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
            why
        })
    }

    fn write(&mut self, entries: &[(u64, Vec<u8>)]) -> Result<(), Error> {
        if self.size >= self.options.segment_bytes {
            self.rotate()?;
        }
        let mut frames = Vec::with_capacity(entries.iter().map(|(_, payload)| frame::HEADER + payload.len()).sum());
        for (number, payload) in entries {
            frame::encode(*number, payload, &mut frames);
        }
        let path: &Path = &self.segment.path;
        self.file.write_all(&frames).map_err(Error::io("write to", path))?;
        self.file.sync_data().map_err(Error::io("sync", path))?;
        self.size += frames.len() as u64;
        self.next += entries.len() as u64;
        let counts = &self.shared.counts;
        counts.entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
        counts.commits.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(frames.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), Error> {
        let (segment, file) = begin(&self.shared, self.next)?;
        let old = std::mem::replace(&mut self.segment, segment);
        self.file = file;
        self.size = 0;
        self.shared.closed.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        Ok(())
    }
}
