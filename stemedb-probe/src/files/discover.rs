//! Finds the WAL directory of a target that has none configured, from the files that it has open for writing.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Names of directories in which databases keep their logs.
const DIRECTORIES: &[&str] = &["wal", "pg_wal", "pg_xlog", "journal", "appendonlydir", "binlog", "commitlog", "redo"];
/// How log files end.
const ENDINGS: &[&str] = &[".wal", "-wal", ".aof", ".journal", ".seg"];
/// Below this a directory is not taken for a WAL.
const ENOUGH: u32 = 50;

/// A choice, and its reason for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The directory, as the process sees it.
    pub directory: PathBuf,
    /// Why.
    pub why: String,
}

/// The most likely WAL directory among a process's open files.
#[must_use]
pub fn wal_directory(pid: u32) -> Option<Choice> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let open = entries.filter_map(Result::ok).filter_map(|entry| {
        let path = std::fs::read_link(entry.path()).ok()?;
        let number = entry.file_name();
        Some((path, flags(pid, number.to_str()?)?))
    });
    best(open)
}

/// The open flags of a descriptor, from `/proc/PID/fdinfo` (octal).
fn flags(pid: u32, fd: &str) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(value.trim(), 8).ok()
}

fn best(open: impl Iterator<Item = (PathBuf, i32)>) -> Option<Choice> {
    let scored = open.filter_map(|(path, flags)| {
        let (score, why) = score(&path, flags)?;
        Some((
            score,
            Choice {
                directory: path.parent()?.to_owned(),
                why: format!("{} is open for writing, and {why}", path.display()),
            },
        ))
    });
    scored.filter(|(score, _)| *score >= ENOUGH).max_by_key(|(score, _)| *score).map(|(_, choice)| choice)
}

/// How much a file that is open for writing looks like a log, and why.
fn score(path: &Path, flags: i32) -> Option<(u32, String)> {
    let writable = matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR);
    if !writable || !path.is_absolute() || path.starts_with("/dev") || path.starts_with("/proc") {
        return None;
    }
    let name = path.file_name()?.as_bytes();
    let directory = path.parent()?.file_name()?.to_str()?.to_lowercase();
    let mut score = 0;
    let mut why = Vec::new();
    if DIRECTORIES.contains(&directory.as_str()) {
        score += 100;
        why.push(format!("its directory is named {directory}"));
    }
    if let Some(ending) = ENDINGS.iter().find(|ending| name.ends_with(ending.as_bytes())) {
        score += ENOUGH;
        why.push(format!("its name ends in {ending}"));
    }
    if flags & libc::O_DSYNC != 0 {
        score += 30;
        why.push("it is open with O_DSYNC".to_owned());
    } else if flags & libc::O_APPEND != 0 {
        score += 10;
        why.push("it is open with O_APPEND".to_owned());
    }
    Some((score, why.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wal_is_told_from_a_log_file_and_a_store() {
        let open = [
            ("/var/log/db/server.log", libc::O_WRONLY | libc::O_APPEND | libc::O_DSYNC),
            ("/data/wal/000001.seg", libc::O_RDWR),
            ("/data/store/a.sst", libc::O_RDWR),
            ("/data/wal2/readonly.wal", libc::O_RDONLY),
        ];
        let choice = best(open.into_iter().map(|(path, flags)| (PathBuf::from(path), flags))).unwrap();
        assert_eq!(choice.directory, Path::new("/data/wal"));
        assert!(choice.why.contains("named wal"));
        assert_eq!(best([(PathBuf::from("/data/store/a.sst"), libc::O_RDWR)].into_iter()), None);
    }
}
