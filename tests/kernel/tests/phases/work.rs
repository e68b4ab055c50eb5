//! What the tests do to files: in their own process, so that they know when each call began and ended.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stemedb_kernel_tests::fs::{Frozen, Mount};
use stemedb_kernel_tests::trace::Call;

/// How long a disk stands still.
pub(crate) const PAUSE: Duration = Duration::from_millis(400);

/// A file in a new directory of class `wal`.
pub(crate) fn file(mount: &Mount) -> Result<(std::path::PathBuf, File)> {
    let wal = mount.dir("wal")?;
    let file = open(&wal.join("segment"))?;
    Ok((wal, file))
}

/// Opens a file for appending.
pub(crate) fn open(path: &Path) -> Result<File> {
    Ok(OpenOptions::new().create(true).append(true).open(path)?)
}

/// Writes and syncs so often.
pub(crate) fn rounds(mut file: &File, count: u64, bytes: usize) -> Result<()> {
    let data = vec![b'x'; bytes];
    for _ in 0..count {
        file.write_all(&data)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Does something while the file system below stands still for [`PAUSE`]; from when on it did so for what was done, and until when.
pub(crate) fn while_frozen(
    below: &Mount,
    work: impl FnOnce() -> Result<()> + Send,
) -> Result<std::ops::Range<Instant>> {
    let frozen = Frozen::new(below.path())?;
    std::thread::scope(|scope| {
        let began = Instant::now();
        let working = scope.spawn(work);
        std::thread::sleep(PAUSE);
        drop(frozen);
        let stood = began..Instant::now();
        working.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        Ok(stood)
    })
}

/// The longest call.
pub(crate) fn longest(calls: &[Call]) -> Result<&Call> {
    calls.iter().max_by_key(|call| call.total_ns).ok_or_else(|| anyhow::anyhow!("no call was traced"))
}

/// Fails unless two times are within five per cent of the second.
pub(crate) fn about(what: &str, got: u64, expected: u64) -> Result<()> {
    println!("{what}: {got} ns, expected {expected} ns");
    ensure!(got.abs_diff(expected) * 20 <= expected, "{what}: {got} ns instead of {expected} ns");
    Ok(())
}

/// Nanoseconds.
pub(crate) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How much of the calls lies within spans of time.
pub(crate) fn overlap(calls: &[(u64, u64)], spans: &[(u64, u64)]) -> u64 {
    let one = |(begin, end): &(u64, u64)| -> u64 {
        spans.iter().map(|(from, to)| to.min(end).saturating_sub(*from.max(begin))).sum()
    };
    calls.iter().map(one).sum()
}

/// The id of the calling thread.
pub(crate) fn thread_id() -> Result<String> {
    let link = std::fs::read_link("/proc/thread-self")?;
    let id = link.file_name().ok_or_else(|| anyhow::anyhow!("{} has no name", link.display()))?;
    Ok(id.to_string_lossy().into_owned())
}
