//! On which file system a directory is: its mount, as the process sees it that has the directory.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use procfs::process::Process;
use serde::Serialize;

use crate::files::open::Root;

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where it is mounted, in the mount namespace that sees it.
    pub point: PathBuf,
    /// Type of the file system.
    pub file_system: String,
    /// What is mounted: a device's path, for a file system on a disk.
    pub source: String,
    /// Number of the device, `major:minor`, as the file system tells it.
    pub device: String,
}

/// The mount of this number, in the list of the process that has it.
#[must_use]
pub fn numbered(id: i32, root: Root) -> Option<Mount> {
    let process = match root {
        Root::Own => Process::myself(),
        Root::Of(pid) => Process::new(i32::try_from(pid).ok()?),
    };
    let mounts = process.ok()?.mountinfo().ok()?;
    let mount = mounts.into_iter().find(|mount| mount.mnt_id == id)?;
    Some(Mount {
        point: mount.mount_point,
        file_system: mount.fs_type,
        source: mount.mount_source.unwrap_or_default(),
        device: mount.majmin,
    })
}

/// The number by which mount lists know the mount that an open directory is on: `mnt_id` of `/proc/self/fdinfo`.
#[must_use]
pub fn number_of(directory: &OwnedFd) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", directory.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_proc_is_on_proc() {
        let directory = OwnedFd::from(std::fs::File::open("/proc/self").unwrap());
        let mount = numbered(number_of(&directory).unwrap(), Root::Own).unwrap();
        assert_eq!((mount.file_system.as_str(), mount.point.to_str()), ("proc", Some("/proc")));
    }
}
