//! Everything that the agent knows now: what the maps hold, each read once, and what it knows by itself.

use std::collections::BTreeMap;

use crate::disks::Device;
use crate::disks::mounts::Mount;
use crate::files::usage::Usage;
use crate::kernel::Verdict;
use crate::kernel::programs::ProgramFigures;
use crate::probes::disks::Disks;
use crate::probes::errors::ErrorSeries;
use crate::probes::mapped::MappedSeries;
use crate::probes::sync::SyncSeries;
use crate::probes::write::WriteSeries;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Names of the targets.
    pub targets: Vec<TargetState>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Calls of the fsync family.
    pub syncs: Vec<SyncSeries>,
    /// Calls of the write family.
    pub writes: Vec<WriteSeries>,
    /// Pages that stores through mappings made dirty.
    pub mapped: Vec<MappedSeries>,
    /// Failed calls.
    pub errors: Vec<ErrorSeries>,
    /// Block I/O.
    pub disks: Disks,
    /// The devices that it was on.
    pub devices: BTreeMap<u32, Device>,
    /// What is missing, in the order of [`stemedb_ebpf::LOST`].
    pub lost: Vec<u64>,
    /// Directories of the configuration, and what is in them.
    pub directories: Vec<DirectoryState>,
    /// The agent's own maps.
    pub maps: Vec<MapState>,
    /// The agent's own programs.
    pub programs: Vec<ProgramFigures>,
    /// What became of each capability.
    pub capabilities: Vec<Verdict>,
    /// Release of the running kernel.
    pub kernel: String,
    /// How long the scrape before this one took, in seconds.
    pub scrape_seconds: f64,
}

/// A target and its processes.
#[derive(Debug, Clone, Default)]
pub struct TargetState {
    /// Its name.
    pub name: String,
    /// Its rules, as the configuration writes them.
    pub rules: Vec<String>,
    /// Processes that are watched now, with their names when they were found.
    pub processes: Vec<(u32, Option<String>)>,
    /// Processes that have ever been watched.
    pub seen: u64,
}

/// The files of one class of one target.
#[derive(Debug, Clone, Default)]
pub struct DirectoryState {
    /// Index of the target.
    pub target: u32,
    /// Number of the class.
    pub class: u32,
    /// The directory, or the rule for names.
    pub pattern: String,
    /// Why it is there: `configured`, or how it was found.
    pub origin: String,
    /// Whether it is a directory that exists; rules for names always are there.
    pub found: bool,
    /// What the kernel answered, when it could not be followed.
    pub problem: Option<String>,
    /// What is in it, once it has been measured.
    pub usage: Option<Usage>,
    /// The file system that it is on, once it has been measured.
    pub mount: Option<Mount>,
    /// Files that have appeared in it.
    pub rotations: u64,
}

/// How full a map is.
#[derive(Debug, Clone, Default)]
pub struct MapState {
    /// Its name.
    pub name: &'static str,
    /// Entries in use.
    pub entries: u64,
    /// Entries that it can hold.
    pub capacity: u64,
}
