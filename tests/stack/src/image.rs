//! A file system of the stack's own: how full the machine's is must not matter, and this one can be filled.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// An ext4 file system in a file, mounted by root; unmounted when this is dropped.
#[derive(Debug)]
pub struct Image {
    place: PathBuf,
}

impl Image {
    /// Makes one of so many bytes in a folder.
    pub fn new(folder: &Path, bytes: u64) -> Result<Self> {
        let (file, place) = (folder.join("image"), folder.join("mount"));
        File::create(&file)?.set_len(bytes)?;
        fs::create_dir(&place)?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&file))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(&place))?;
        Ok(Self { place })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Sets space aside in one file, which gives it back when it is removed.
    pub fn fill(&self, bytes: u64) -> Result<PathBuf> {
        let file = self.place.join("filled");
        run(Command::new("fallocate").args(["-l", &bytes.to_string()]).arg(&file))?;
        Ok(file)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // There is nobody to tell of an error here. What still uses it keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).status();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program}: {}; it is for root", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
