//! Limits of a cgroup on what is written to a device.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::block::Device;

const CONTROLLER: &str = "/sys/fs/cgroup/blkio";

/// What is limited.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// Bytes a second.
    Bytes(u64),
    /// Bios a second.
    Operations(u64),
}

/// A cgroup (v1) whose threads write to a device only so fast; they leave it when this is dropped.
pub struct Throttle {
    cgroup: PathBuf,
}

impl Throttle {
    /// A limit, for nobody yet.
    pub fn new(device: &Device, limit: Limit) -> Result<Self> {
        let cgroup = Path::new(CONTROLLER).join(crate::own_name("stemedb-test"));
        fs::create_dir(&cgroup).context("the blkio controller of cgroup v1?")?;
        let throttle = Self { cgroup };
        let (major, minor) = device.number;
        let (file, count) = match limit {
            Limit::Bytes(count) => ("blkio.throttle.write_bps_device", count),
            Limit::Operations(count) => ("blkio.throttle.write_iops_device", count),
        };
        fs::write(throttle.cgroup.join(file), format!("{major}:{minor} {count}"))?;
        Ok(throttle)
    }

    /// Limits the calling thread.
    pub fn this_thread(&self) -> Result<()> {
        let path = fs::read_link("/proc/thread-self")?;
        let id = path.file_name().context("no thread")?.to_string_lossy().into_owned();
        Ok(fs::write(self.cgroup.join("tasks"), id)?)
    }

    /// Limits a process, all its threads.
    pub fn process(&self, pid: u32) -> Result<()> {
        fs::write(self.cgroup.join("cgroup.procs"), pid.to_string()).with_context(|| format!("no process {pid}?"))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // One by one; a thread that has ended meanwhile is none to move, and one that starts meanwhile is there the next time.
        for _ in 0..100 {
            let tasks = fs::read_to_string(self.cgroup.join("tasks")).unwrap_or_default();
            if tasks.is_empty() {
                break;
            }
            for task in tasks.lines() {
                let _ = fs::write(Path::new(CONTROLLER).join("tasks"), task);
            }
        }
        if let Err(error) = fs::remove_dir(&self.cgroup) {
            eprintln!("{}: {error}", self.cgroup.display());
        }
    }
}
