//! What /proc says about a process. Everything may be gone at any time: then the answer is `None`.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// What the rules look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Process id.
    pub pid: u32,
    /// Command name; any bytes.
    pub comm: Vec<u8>,
    /// Path of the executable; `None` for kernel threads.
    pub exe: Option<Vec<u8>>,
    /// Path of the cgroup in the unified hierarchy.
    pub cgroup: Option<Vec<u8>>,
}

/// Every process id.
pub fn all() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The facts about a process.
#[must_use]
pub fn facts(pid: u32) -> Option<Facts> {
    let mut comm = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    if comm.last() == Some(&b'\n') {
        comm.pop();
    }
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok().map(|path| {
        let bytes = path.as_os_str().as_bytes();
        bytes.strip_suffix(b" (deleted)").unwrap_or(bytes).to_vec()
    });
    Some(Facts { pid, comm, exe, cgroup: cgroup(pid) })
}

fn cgroup(pid: u32) -> Option<Vec<u8>> {
    let text = std::fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::")).map(<[u8]>::to_vec)
}

/// Whether a process has not ended. A zombie has, unless only its first thread ended and others go on.
#[must_use]
pub fn exists(pid: u32) -> bool {
    // The name may hold anything, a `)` too: the state follows the last one (proc_pid_stat(5)).
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return false };
    let Some(after) = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2..)) else {
        return false;
    };
    let fields: Vec<&[u8]> = after.split(|byte| *byte == b' ').collect();
    let ended = matches!(fields.first(), None | Some(&(b"Z" | b"X")));
    // `state` is the third field of the file, `num_threads` the twentieth.
    !ended || fields.get(17).is_some_and(|threads| !matches!(*threads, b"0" | b"1"))
}

/// The number of a process's mount namespace.
#[must_use]
pub fn mount_namespace(pid: u32) -> Option<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|stat| stat.ino())
}
