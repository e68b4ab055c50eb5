//! The directories of the database.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// An empty file by which a directory is known to be this load's own: it removes old segments.
const MARK: &str = ".stemedb-workload";

/// Makes `wal` and `store` in a directory that is empty or was prepared before, and empties them.
pub(super) fn prepare(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let own = dir.join(MARK).exists();
    for name in ["wal", "store"] {
        let part = dir.join(name);
        fs::create_dir_all(&part).with_context(|| format!("cannot create {}", part.display()))?;
        let empty = fs::read_dir(&part)?.next().is_none();
        ensure!(own || empty, "{} has files that are not this load's own", part.display());
        remove_files(&part)?;
    }
    File::create(dir.join(MARK))?;
    Ok(())
}

fn remove_files(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path()).unwrap();
        let segment = dir.path().join("wal/000001.log");
        File::create(&segment).unwrap();
        prepare(dir.path()).unwrap();
        assert!(!segment.exists());

        File::create(&segment).unwrap();
        fs::remove_file(dir.path().join(MARK)).unwrap();
        assert!(prepare(dir.path()).is_err());
        assert!(segment.exists());
    }
}
