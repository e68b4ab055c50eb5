//! Block devices: what the agent says of them, and what the kernel counts by itself.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use stemedb_ebpf::slots::latency_slot;

use crate::wait_for;

/// Bytes of a sector in /proc/diskstats, whatever the device's own are.
const SECTOR: u64 = 512;
/// A generous limit for a disk to come to rest.
const SOON: Duration = Duration::from_mins(1);

/// The part of `/status` about block I/O.
#[derive(Debug, Clone, Default, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Disks {
    pub counts: Vec<Counts>,
    pub latencies: Vec<Latencies>,
    pub flushes: Vec<Flushes>,
    pub errors: Vec<Errors>,
    pub writeback_errors: Vec<FileErrors>,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Counts {
    pub target: String,
    pub device: String,
    pub op: String,
    pub class: String,
    pub origin: String,
    pub ios: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Latencies {
    pub target: String,
    pub device: String,
    pub op: String,
    pub stages: BTreeMap<String, Stage>,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Stage {
    pub sum_ns: u64,
    pub slots: Vec<(usize, u64)>,
}

impl Stage {
    /// Requests of any length.
    pub fn count(&self) -> u64 {
        self.slots.iter().map(|(_, count)| count).sum()
    }

    /// Requests in the slot of a time and above.
    pub fn at_least(&self, time: Duration) -> u64 {
        let from = latency_slot(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.slots.iter().filter(|(slot, _)| *slot >= from).map(|(_, count)| count).sum()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Flushes {
    pub target: String,
    pub device: String,
    pub fua: u64,
    pub waits: Stage,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Errors {
    pub target: String,
    pub device: String,
    pub op: String,
    pub class: String,
    pub error: String,
    pub count: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct FileErrors {
    pub target: String,
    pub class: String,
    pub count: u64,
}

/// Requests and bytes by what the kernel tells apart: reads, writes with zeroes, discards, flushes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in Documentation/admin-guide/iostats.rst")]
pub struct DiskStats {
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub written_bytes: u64,
    pub discards: u64,
    pub discarded_bytes: u64,
    pub flushes: u64,
}

impl DiskStats {
    /// What came after another moment.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            read_bytes: self.read_bytes - before.read_bytes,
            writes: self.writes - before.writes,
            written_bytes: self.written_bytes - before.written_bytes,
            discards: self.discards - before.discards,
            discarded_bytes: self.discarded_bytes - before.discarded_bytes,
            flushes: self.flushes - before.flushes,
        }
    }

    /// What /proc/diskstats says of a device now, and how many requests are in flight.
    pub fn now(device: &str) -> Result<(Self, u64)> {
        let text = std::fs::read_to_string("/proc/diskstats")?;
        let mut lines = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let fields = lines.find(|fields| fields.get(2) == Some(&device)).with_context(|| format!("no {device}"))?;
        let field = |n: usize| -> Result<u64> { Ok(fields.get(n + 2).context("too few fields")?.parse()?) };
        let stats = Self {
            reads: field(1)?,
            read_bytes: field(3)? * SECTOR,
            writes: field(5)?,
            written_bytes: field(7)? * SECTOR,
            discards: field(12)?,
            discarded_bytes: field(14)? * SECTOR,
            flushes: field(16)?,
        };
        Ok((stats, field(9)?))
    }

    /// What the kernel has counted once the device is at rest.
    pub fn at_rest(device: &str) -> Result<Self> {
        let mut last = None;
        let mut same = 0;
        wait_for(&format!("rest of {device}"), SOON, || {
            let (now, in_flight) = Self::now(device).ok()?;
            same = if last == Some(now) && in_flight == 0 { same + 1 } else { 0 };
            last = Some(now);
            // Every ten milliseconds.
            (same >= 20).then_some(now)
        })
    }
}

impl Disks {
    /// The sum over all targets, classes and origins, as the kernel counts.
    pub fn sum(&self, device: &str) -> DiskStats {
        let mut sum = DiskStats::default();
        for one in self.counts.iter().filter(|one| one.device == device) {
            let (ios, bytes) = match one.op.as_str() {
                "read" => (&mut sum.reads, &mut sum.read_bytes),
                "discard" => (&mut sum.discards, &mut sum.discarded_bytes),
                "flush" => {
                    sum.flushes += one.ios;
                    continue;
                }
                _ => (&mut sum.writes, &mut sum.written_bytes),
            };
            *ios += one.ios;
            *bytes += one.bytes;
        }
        sum
    }

    /// Requests and bytes of those that `which` chooses.
    pub fn count(&self, which: impl Fn(&Counts) -> bool) -> (u64, u64) {
        let chosen = self.counts.iter().filter(|one| which(one));
        chosen.fold((0, 0), |(ios, bytes), one| (ios + one.ios, bytes + one.bytes))
    }

    /// The latencies of one target's requests of one kind.
    pub fn stage(&self, target: &str, device: &str, op: &str, stage: &str) -> Option<&Stage> {
        let mut all = self.latencies.iter();
        all.find(|one| one.target == target && one.device == device && one.op == op)?.stages.get(stage)
    }

    /// Requests of one kind that have a latency in a stage, of all targets.
    pub fn samples(&self, device: &str, op: &str, stage: &str) -> u64 {
        let chosen = self.latencies.iter().filter(|one| one.device == device && one.op == op);
        chosen.filter_map(|one| one.stages.get(stage)).map(Stage::count).sum()
    }

    /// The flushes that one target's requests asked for.
    pub fn flushes(&self, target: &str, device: &str) -> Option<&Flushes> {
        self.flushes.iter().find(|one| one.target == target && one.device == device)
    }

    /// Failed requests of those that `which` chooses.
    pub fn failed(&self, which: impl Fn(&Errors) -> bool) -> u64 {
        self.errors.iter().filter(|one| which(one)).map(|one| one.count).sum()
    }

    /// Errors that the kernel recorded against a target's files of a class.
    pub fn recorded(&self, target: &str, class: &str) -> u64 {
        let chosen = self.writeback_errors.iter().filter(|one| one.target == target && one.class == class);
        chosen.map(|one| one.count).sum()
    }
}

/// The device that a file is on, and what the kernel knows of it.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// `major:minor`
    pub number: (u64, u64),
    sys: PathBuf,
}

impl Device {
    /// That of a file system without devices of its own.
    pub fn below(path: &Path) -> Result<Self> {
        let dev = std::fs::metadata(path)?.dev();
        Self::numbered((u64::from(libc::major(dev)), u64::from(libc::minor(dev))))
    }

    /// That of a path in /dev.
    pub fn of(path: &Path) -> Result<Self> {
        let dev = std::fs::metadata(path)?.rdev();
        Self::numbered((u64::from(libc::major(dev)), u64::from(libc::minor(dev))))
    }

    fn numbered(number: (u64, u64)) -> Result<Self> {
        let link = PathBuf::from(format!("/sys/dev/block/{}:{}", number.0, number.1));
        let sys = link.canonicalize().with_context(|| link.display().to_string())?;
        let name = sys.file_name().context("no name")?.to_string_lossy().into_owned();
        Ok(Self { name, number, sys })
    }

    /// What a file below /sys/block/NAME says.
    pub fn attribute(&self, file: &str) -> Result<String> {
        let path = self.sys.join(file);
        Ok(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
    }

    /// Writes to such a file, and what was there before once the result is dropped: a loop device is used again.
    pub fn set(&self, file: &str, value: &str) -> Result<Setting> {
        let before = self.attribute(file)?;
        // Of several choices, the one in brackets is in force.
        let before = before.split_once('[').and_then(|(_, rest)| rest.split(']').next()).unwrap_or(&before).to_owned();
        let path = self.sys.join(file);
        std::fs::write(&path, value).with_context(|| path.display().to_string())?;
        Ok(Setting { path, before })
    }
}

/// A setting of a device that ends when this is dropped.
pub struct Setting {
    path: PathBuf,
    before: String,
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, &self.before) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}
