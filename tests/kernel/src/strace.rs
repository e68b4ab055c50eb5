//! What a process and its children do to files, as strace(1) sees it: a count that has nothing to do with eBPF.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The system calls that are counted, and which of a call's descriptors is the file's: the first or the second.
const CALLS: &[(&str, usize)] = &[
    ("fsync", 0),
    ("fdatasync", 0),
    ("sync_file_range", 0),
    ("syncfs", 0),
    ("write", 0),
    ("pwrite64", 0),
    ("writev", 0),
    ("pwritev", 0),
    ("pwritev2", 0),
    ("sendfile", 0),
    ("splice", 1),
    ("copy_file_range", 1),
    ("fallocate", 0),
];
/// System calls whose file strace does not tell: there must be none.
const UNTOLD: &[&str] = &["sync", "msync", "io_uring_enter", "io_submit"];
/// What the logs are named, with the thread's id after it.
const LOGS: &str = "calls";

/// Calls of one operation on one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub calls: u64,
    /// Bytes written.
    pub bytes: u64,
    /// How many failed.
    pub failed: u64,
}

/// Counts by class and operation, without the zeros.
pub type Counts = BTreeMap<(String, String), Count>;

/// A command that runs a program under strace, from its exec to the end of its last child. The logs go to `dir`, a file for each
/// thread: so no call is split in two lines.
pub fn command(dir: &Path, program: &str) -> Command {
    let names: Vec<&str> = CALLS.iter().map(|(name, _)| *name).chain(UNTOLD.iter().copied()).collect();
    let mut command = Command::new("strace");
    // -y: paths of descriptors; -s 0: no data.
    command.args(["-ff", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-e", "signal=none"]);
    command.args(["-e", &format!("trace={}", names.join(",")), "-o"]);
    command.arg(dir.join(LOGS)).arg("--").arg(program);
    command
}

/// Reads the logs in `dir`; `class` tells the class of a path.
pub fn counts(dir: &Path, class: fn(&Path) -> &'static str) -> Result<Counts> {
    let mut counts = Counts::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_stem().is_some_and(|stem| stem == LOGS) {
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            for line in text.lines() {
                count(line, class, &mut counts).with_context(|| format!("{}: {line}", path.display()))?;
            }
        }
    }
    ensure!(!counts.is_empty(), "strace saw no call at all; its logs are in {}", dir.display());
    Ok(counts)
}

fn count(line: &str, class: fn(&Path) -> &'static str, counts: &mut Counts) -> Result<()> {
    let (name, rest) = line.split_once('(').context("no call")?;
    let Some((_, which)) = CALLS.iter().find(|(call, _)| *call == name) else {
        bail!("a call whose file strace does not tell");
    };
    let (arguments, result) = rest.rsplit_once(" = ").context("a call that has no end")?;
    let result = result.split(' ').next().unwrap_or_default();
    let result: i64 = result.parse().with_context(|| format!("a call that returned {result:?}"))?;
    let Some(path) = storage(arguments, *which) else { return Ok(()) };
    let count = counts.entry((class(&path).to_owned(), name.to_owned())).or_default();
    count.calls += 1;
    match u64::try_from(result) {
        Ok(bytes) => count.bytes += bytes,
        Err(_) => count.failed += 1,
    }
    Ok(())
}

/// The path of descriptor number `which` of a call, unless it is a socket, a pipe, a device or the like.
fn storage(arguments: &str, which: usize) -> Option<PathBuf> {
    let path = arguments.split('<').nth(which + 1)?.split('>').next()?;
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let device = path.starts_with("/dev/") && !path.starts_with("/dev/shm/");
    (path.starts_with('/') && !device).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(path: &Path) -> &'static str {
        if path.starts_with("/d/wal") { "wal" } else { "other" }
    }

    #[test]
    fn lines_of_a_log() {
        let mut counts = Counts::new();
        for line in [
            "write(3</d/wal/1>, \"\"..., 10) = 10",
            "write(3</d/wal/1>, \"\"..., 10) = -1 ENOSPC (No space left on device)",
            "write(1<pipe:[12]>, \"\"..., 10) = 10",
            "write(2</dev/null>, \"\"..., 10) = 10",
            "fsync(3</d/wal>)                        = 0",
            "copy_file_range(3</d/wal/1>, NULL, 4</d/x (deleted)>, NULL, 10, 0) = 7",
        ] {
            count(line, class, &mut counts).unwrap();
        }
        let key = |class: &str, op: &str| (class.to_owned(), op.to_owned());
        assert_eq!(counts[&key("wal", "write")], Count { calls: 2, bytes: 10, failed: 1 });
        assert_eq!(counts[&key("wal", "fsync")], Count { calls: 1, ..Count::default() });
        assert_eq!(counts[&key("other", "copy_file_range")], Count { calls: 1, bytes: 7, failed: 0 });
        assert_eq!(counts.len(), 3);
        assert!(count("fsync(3</d/wal> <unfinished ...>", class, &mut counts).is_err());
        assert!(count("fsync(3</d/wal>) = ?", class, &mut counts).is_err());
        assert!(count("msync(0x7f, 4096, MS_SYNC) = 0", class, &mut counts).is_err());
    }
}
