//! The kernel's own record of events, as a second witness: `/sys/kernel/tracing`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::block::Device;

const TRACEFS: &str = "/sys/kernel/tracing";

/// Events that are recorded in an instance of their own until this is dropped.
pub struct Recording {
    instance: PathBuf,
}

/// An event of a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockEvent {
    /// Name of the event.
    pub name: String,
    /// What is done, in the letters of blktrace.
    pub rwbs: String,
    /// First sector, of 512 bytes.
    pub sector: u64,
    /// Number of sectors.
    pub sectors: u64,
}

impl Recording {
    /// Records events of the subsystem `block`.
    pub fn start(name: &str, events: &[&str]) -> Result<Self> {
        Self::start_in("block", name, events)
    }

    /// Records events of a subsystem. Their times are those of the monotonic clock.
    pub fn start_in(subsystem: &str, name: &str, events: &[&str]) -> Result<Self> {
        let instance = PathBuf::from(format!("{TRACEFS}/instances/{name}-{}", std::process::id()));
        fs::create_dir(&instance).with_context(|| format!("{}; `cargo xtask setup` mounts it", instance.display()))?;
        let recording = Self { instance };
        fs::write(recording.instance.join("buffer_size_kb"), "16384")?;
        fs::write(recording.instance.join("trace_clock"), "mono")?;
        for event in events {
            fs::write(recording.instance.join(format!("events/{subsystem}/{event}/enable")), "1")
                .with_context(|| format!("no event {event}"))?;
        }
        Ok(recording)
    }

    fn text(&self) -> Result<String> {
        let text = fs::read_to_string(self.instance.join("trace"))?;
        ensure!(!text.contains("LOST") && !text.contains("EVENTS LOST"), "the kernel has dropped events");
        Ok(text)
    }

    /// When something of a device began and ended, by the names of the events and a word that the line has; in nanoseconds of the
    /// monotonic clock.
    pub fn spans(&self, device: &Device, begin: &str, end: &str, word: &str) -> Result<Vec<(u64, u64)>> {
        let number = format!("{},{}", device.number.0, device.number.1);
        let text = self.text()?;
        let mut since = None;
        let mut spans = Vec::new();
        for line in text.lines().filter(|line| line.contains(&number) && line.contains(word)) {
            let (Some(name), Some(at)) = (line.split(": ").nth(1), time_of(line)) else { continue };
            if name == begin {
                since = since.or(Some(at));
            } else if name == end
                && let Some(since) = since.take()
            {
                spans.push((since, at));
            }
        }
        Ok(spans)
    }

    /// What was recorded of a device; an error where something is missing.
    pub fn of(&self, device: &Device) -> Result<Vec<BlockEvent>> {
        let text = self.text()?;
        let number = format!("{},{}", device.number.0, device.number.1);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Ok(lines.filter_map(|line| parse(line, &number)).collect())
    }
}

/// The time before the name of the event: seconds with six digits behind the point.
fn time_of(line: &str) -> Option<u64> {
    let (seconds, fraction) = line.split(": ").next()?.rsplit(' ').next()?.split_once('.')?;
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse::<u64>().ok()?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + nanoseconds)
}

/// `COMM-PID [CPU] FLAGS TIME: NAME: MAJOR,MINOR RWBS [BYTES] (COMMAND) SECTOR + SECTORS ...`
fn parse(line: &str, number: &str) -> Option<BlockEvent> {
    let (before, after) = line.split_once(&format!(": {number} "))?;
    let name = before.rsplit(' ').next()?.to_owned();
    let rwbs = after.split(' ').next()?.to_owned();
    let (left, right) = after.split_once(" + ")?;
    let sector = left.rsplit(' ').next()?.parse().ok()?;
    let sectors = right.split(' ').next()?.parse().ok()?;
    Some(BlockEvent { name, rwbs, sector, sectors })
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.instance);
    }
}
