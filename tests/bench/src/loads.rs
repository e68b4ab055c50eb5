//! What is run: each load does one thing as fast as it can, for a time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use stemedb_kernel_tests::fio;
use stemedb_kernel_tests::fs::{Mount, run as run_tool};
use stemedb_kernel_tests::load::Load as Process;

/// The name of the processes of all loads but fio, as the kernel keeps it.
pub(crate) const COMM: &str = "stemedb-workloa";

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Load {
    /// The WAL loop on the file system of the folder that the user gives.
    WalOnDisk,
    /// The same on a disk in memory.
    Wal,
    /// Buffered writes.
    Writes,
    /// Syncs that find nothing to do.
    Syncs,
    /// fio past the page cache.
    Direct,
    /// What is no database.
    Calls,
    /// A system call that does nothing.
    Nothing,
}

pub(crate) const LOADS: &[Load] =
    &[Load::WalOnDisk, Load::Wal, Load::Writes, Load::Syncs, Load::Direct, Load::Calls, Load::Nothing];

impl Load {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WalOnDisk => "WAL loop on a disk: a write of 4 KiB and an fdatasync",
            Self::Wal => "the same on an ext4 with a journal, on a disk in memory",
            Self::Writes => "buffered writes of 512 bytes to a tmpfs",
            Self::Syncs => "fdatasyncs that find nothing to do, on a tmpfs",
            Self::Direct => "fio: random writes of 4 KiB by O_DIRECT, 32 at a time, to an ext4 on a disk in memory",
            Self::Calls => "getppid, a read and a write of 512 bytes, on a tmpfs",
            Self::Nothing => "getppid",
        }
    }

    /// What is counted.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::WalOnDisk | Self::Wal | Self::Calls => "round",
            Self::Writes => "write",
            Self::Syncs => "sync",
            Self::Direct => "request",
            Self::Nothing => "call",
        }
    }
}

/// What a load did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    pub(crate) calls: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ns: f64,
    pub(crate) p99_ns: f64,
}

/// Where they run.
pub(crate) struct Places {
    memory: Mount,
    ext4: Mount,
    /// Below the two file systems above, last to be dropped.
    _image: Mount,
    disk: tempfile::TempDir,
}

impl Places {
    pub(crate) fn new(disk: &Path) -> Result<Self> {
        let image = Mount::tmpfs("700m")?;
        let path = image.path().join("image");
        run_tool("truncate", &["-s".as_ref(), "384M".as_ref(), path.as_os_str()])?;
        run_tool("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), path.as_os_str()])?;
        std::fs::create_dir_all(disk).with_context(|| disk.display().to_string())?;
        Ok(Self {
            memory: Mount::tmpfs("256m")?,
            ext4: Mount::loop_of(&path)?,
            _image: image,
            disk: tempfile::tempdir_in(disk)?,
        })
    }

    /// The folder that a load uses.
    pub(crate) fn of(&self, load: Load) -> &Path {
        match load {
            Load::WalOnDisk => self.disk.path(),
            Load::Wal | Load::Direct => self.ext4.path(),
            Load::Writes | Load::Syncs | Load::Calls | Load::Nothing => self.memory.path(),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> [PathBuf; 3] {
        [self.disk.path(), self.ext4.path(), self.memory.path()].map(Path::to_owned)
    }

    /// Runs a load.
    pub(crate) fn run(&self, load: Load, time: Duration) -> Result<Done> {
        let folder = self.of(load);
        match load {
            Load::Direct => direct(folder, time),
            Load::WalOnDisk | Load::Wal => pace("wal", folder, time, &[]),
            Load::Writes => pace("writes", folder, time, &[]),
            Load::Syncs => pace("syncs", folder, time, &[]),
            Load::Calls => pace("calls", folder, time, &[]),
            Load::Nothing => pace("nothing", folder, time, &[]),
        }
    }
}

/// Runs `stemedb-workload pace`.
pub(crate) fn pace(kind: &str, folder: &Path, time: Duration, more: &[&str]) -> Result<Done> {
    let (folder, time) = (folder.display().to_string(), time.as_millis().to_string());
    let mut arguments = vec!["pace", "--kind", kind, "--dir", &folder, "--milliseconds", &time];
    arguments.extend(more);
    let mut process = Process::start(&arguments)?;
    process.go()?;
    let report = process.json()?;
    let number = |name: &str| report[name].as_f64().with_context(|| format!("no {name} in {report}"));
    let calls = number("calls")?;
    Ok(Done { calls, per_second: calls / number("seconds")?, p50_ns: number("p50_ns")?, p99_ns: number("p99_ns")? })
}

fn direct(folder: &Path, time: Duration) -> Result<Done> {
    let mut command = std::process::Command::new("fio");
    command.args(["--name=bench", "--rw=randwrite", "--bs=4k", "--direct=1", "--ioengine=libaio", "--iodepth=32"]);
    command.args(["--time_based", "--randseed=1", "--output-format=json", "--size=64M"]);
    command.arg(format!("--runtime={}ms", time.as_millis()));
    command.arg(format!("--filename={}", folder.join("direct").display()));
    let job = fio::job(&mut command)?;
    let write = &job["write"];
    let number = |value: &Value| value.as_f64().with_context(|| format!("not fio's report: {write}"));
    Ok(Done {
        calls: number(&write["total_ios"])?,
        per_second: number(&write["iops"])?,
        p50_ns: number(&write["clat_ns"]["percentile"]["50.000000"])?,
        p99_ns: number(&write["clat_ns"]["percentile"]["99.000000"])?,
    })
}
