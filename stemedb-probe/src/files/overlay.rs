//! The directory below a directory of an overlay. A mapping of a file of an overlay, and the pages of every file of it, belong to
//! the file below (fs/overlayfs/file.c); so the class must be known there too.

use std::path::{Path, PathBuf};

use procfs::process::{MountInfo, Process};

use super::open::Root;

/// Where the files of a directory of an overlay really are: in its upper layer. `None` on any other file system.
#[must_use]
pub fn real_directory(root: Root, path: &Path) -> Option<PathBuf> {
    let process = match root {
        Root::Own => Process::myself(),
        Root::Of(pid) => Process::new(pid.cast_signed()),
    };
    below(&process.ok()?.mountinfo().ok()?.0, path)
}

fn below(mounts: &[MountInfo], path: &Path) -> Option<PathBuf> {
    // A later mount lies on top of an earlier one.
    let holds = |mount: &&MountInfo| path.starts_with(&mount.mount_point);
    let mount = mounts.iter().filter(holds).max_by_key(|mount| mount.mount_point.components().count())?;
    if mount.fs_type != "overlay" {
        return None;
    }
    let upper = mount.super_options.get("upperdir")?.as_deref()?;
    let inside = Path::new(&mount.root).strip_prefix("/").ok()?;
    Some(Path::new(upper).join(inside).join(path.strip_prefix(&mount.mount_point).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(line: &str) -> MountInfo {
        MountInfo::from_line(line).unwrap()
    }

    #[test]
    fn only_the_innermost_mount_counts() {
        let mounts = [
            mount("1 0 0:1 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/up,workdir=/w"),
            mount("2 1 8:1 / /data rw - ext4 /dev/sda rw"),
        ];
        assert_eq!(below(&mounts, Path::new("/db/wal")), Some(PathBuf::from("/up/db/wal")));
        assert_eq!(below(&mounts, Path::new("/data/wal")), None);
    }
}
