//! Finds directories of a target: those that rules know by name only, and the WAL's of a target that has no rule for it, from
//! the files that it has open.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::open::{self, Root};

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
    // What it is called first: a database may have ten thousands of files open, and how each is open is one more file to read.
    let likely = open_files(pid).filter(|(path, _)| looks(path).is_some());
    best(likely.filter_map(|(path, number)| Some((path, flags(pid, number.to_str()?)?))))
}

/// A directory of this name in which a process has a file open.
#[must_use]
pub fn by_open_file(pid: u32, name: &str) -> Option<Choice> {
    open_files(pid).find_map(|(path, _)| above(&path, name))
}

/// A directory of this name in a process's working directory, perhaps by a symbolic link: PostgreSQL works in its data directory.
#[must_use]
pub fn by_working_directory(pid: u32, name: &str) -> Option<Choice> {
    let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?.join(name);
    open::locate(Root::Of(pid), &directory).ok()?.directory?;
    Some(Choice { directory, why: format!("{name} is in the working directory of process {pid}") })
}

/// Paths and numbers of a process's descriptors.
fn open_files(pid: u32) -> impl Iterator<Item = (PathBuf, OsString)> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| Some((std::fs::read_link(entry.path()).ok()?, entry.file_name())))
}

/// The nearest directory of a name above a file.
fn above(path: &Path, name: &str) -> Option<Choice> {
    let mut above = path.ancestors().skip(1).filter(|_| path.is_absolute());
    let directory = above.find(|directory| directory.file_name().is_some_and(|other| other == name))?;
    Some(Choice { directory: directory.to_owned(), why: format!("{} is open", path.display()) })
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
    scored.max_by_key(|(score, _)| *score).map(|(_, choice)| choice)
}

/// How much a file that is open for writing looks like a log, and why.
fn score(path: &Path, flags: i32) -> Option<(u32, String)> {
    let writable = matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR);
    let (mut score, mut why) = looks(path).filter(|_| writable)?;
    if flags & libc::O_DSYNC != 0 {
        score += 30;
        why.push("it is open with O_DSYNC".to_owned());
    } else if flags & libc::O_APPEND != 0 {
        score += 10;
        why.push("it is open with O_APPEND".to_owned());
    }
    Some((score, why.join(", ")))
}

/// How much a file looks like a log by its path, and why. What does not is none, however it is open.
fn looks(path: &Path) -> Option<(u32, Vec<String>)> {
    if !path.is_absolute() || path.starts_with("/dev") || path.starts_with("/proc") {
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
    (score >= ENOUGH).then_some((score, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_known_by_its_name() {
        let choice = above(Path::new("/data/wal/x/wal/000001.seg"), "wal").unwrap();
        assert_eq!(choice.directory, Path::new("/data/wal/x/wal"));
        assert_eq!(above(Path::new("/data/wal"), "wal"), None, "a file of that name is none");
        assert_eq!(above(Path::new("socket:[1]"), "wal"), None);
        let found = by_working_directory(std::process::id(), "src").unwrap();
        assert_eq!(found.directory, std::env::current_dir().unwrap().join("src"));
        assert_eq!(by_working_directory(std::process::id(), "no-such-directory"), None);
    }

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
