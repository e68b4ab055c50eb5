//! Every metric: name, help, type, labels. Written once; the exposition, `stemedb-probe metrics`, `docs/metrics.md` and the
//! checks derive from it.

use serde::Serialize;
use stemedb_ebpf::phases::{MEANINGS, PHASES};

/// Prometheus' types that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with a sum and a count.
    Histogram,
}

impl Kind {
    /// The word in the exposition.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric is about, which decides what stands before its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// A class of files: `NAMESPACE_wal_*` for class `wal`, `NAMESPACE_file_*` with the label `class` for every other.
    File,
    /// Block I/O: `NAMESPACE_disk_*`. `target` is empty for what is charged to nobody.
    Disk,
    /// Writing back pages: `NAMESPACE_writeback_*`.
    Writeback,
    /// The agent: `NAMESPACE_probe_*`.
    Probe,
    /// The agent as a process: `process_*`, the names that every Prometheus client uses.
    Process,
}

/// One row of [`METRICS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// What to call it in the code.
    pub id: Id,
    /// Its name without what [`Scope`] puts before it.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it is about.
    pub scope: Scope,
    /// Its labels beside `target` and `class` of [`Scope::File`].
    pub labels: &'static [&'static str],
    /// Its help text: what is counted, and in which unit.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident, $name:literal, $kind:ident, $scope:ident, [$($label:literal),*], $help:literal;)+) => {
        /// Names a metric in the code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is documented by its help text")]
        pub enum Id { $($id),+ }

        /// Every metric of the agent, in the order of the exposition.
        pub const METRICS: &[Metric] = &[$(Metric {
            id: Id::$id,
            name: $name,
            kind: Kind::$kind,
            scope: Scope::$scope,
            labels: &[$($label),*],
            help: $help,
        }),+];
    };
}

metrics! {
    FsyncLatency, "fsync_latency_seconds", Histogram, File, ["op"], "Time from the entry to the return of a sync call (fsync, fdatasync, sync_file_range, msync, syncfs, sync), failed ones too.";
    FsyncLatencyMax, "fsync_latency_max_seconds", Gauge, File, ["op"], "The longest sync call since the agent started.";
    FsyncPhase, "fsync_phase_seconds_total", Counter, File, ["phase"], "Where the time of sync calls went; over all phases it is the sum of fsync_latency_seconds.";
    FlushLatency, "flush_latency_seconds", Histogram, File, [], "Time from the first write to a file that no fsync or fdatasync of it has covered to the return of the one that does.";
    WriteLatency, "write_latency_seconds", Histogram, File, [], "Time from the entry to the return of a call of the write family, failed ones too.";
    Writes, "writes_total", Counter, File, ["op"], "Calls of the write family, failed ones too.";
    BytesWritten, "bytes_written_total", Counter, File, ["op"], "Bytes that calls of the write family took.";
    WriteErrors, "write_errors_total", Counter, File, ["op", "error"], "Calls of the write and sync families that failed, by errno.";
    MappedDirtied, "mapped_dirtied_bytes_total", Counter, File, [], "Page cache that stores through shared mappings made dirty, in whole folios, each time that a clean one became dirty.";
    DiskUsage, "disk_usage_bytes", Gauge, File, [], "Space that the file system has set aside for the files in the class's directories.";
    FilesystemSize, "filesystem_size_bytes", Gauge, File, [], "Size of the file system that the class's directories are on; of several, of the fullest.";
    FilesystemAvailable, "filesystem_available_bytes", Gauge, File, [], "What a process without privileges can still write on that file system.";
    Segments, "segments_count", Gauge, File, [], "Regular files in the class's directories.";
    Rotations, "rotations_total", Counter, File, [], "Files that appeared in the class's directories: made there, or moved there from elsewhere.";
    WritesPerFsync, "writes_per_fsync", Histogram, File, [], "Writes that one fsync or fdatasync of a file covers: group commit as the kernel sees it.";
    BytesPerFsync, "bytes_per_fsync", Histogram, File, [], "Bytes that one fsync or fdatasync of a file covers.";
    DiskLatency, "io_latency_seconds", Histogram, Disk, ["target", "device", "op", "stage"], "Time of block requests in a stage: queue, from the block layer's entry to the driver, the flush before it included; device, from the driver to the end.";
    DiskIos, "ios_total", Counter, Disk, ["target", "device", "op", "class", "origin"], "Block requests that ended, as /proc/diskstats counts them: an empty flush is one write of no bytes, and the flush itself.";
    DiskBytes, "bytes_total", Counter, Disk, ["target", "device", "op", "class", "origin"], "Bytes of block requests that ended, failed ones too; those of a merged request each as its own file's.";
    DiskFlushLatency, "flush_latency_seconds", Histogram, Disk, ["target", "device"], "Time that block requests waited for the flush of the device's cache that they asked for.";
    DiskFua, "fua_writes_total", Counter, Disk, ["target", "device"], "Block requests that asked for their data to be on the medium at their end (FUA).";
    DiskErrors, "errors_total", Counter, Disk, ["target", "device", "op", "class", "error"], "Block requests that failed, by blk_status; a failed flush once for each request that asked for it.";
    DiskInfo, "info", Gauge, Disk, ["device", "disk", "mapper"], "1; the disk that a device is a partition of, else itself, and its name in device-mapper.";
    WritebackErrors, "errors_total", Counter, Writeback, ["target", "class"], "Errors that the kernel recorded against files of which it wrote back pages; the next sync of the file returns one.";
    BuildInfo, "build_info", Gauge, Probe, ["version", "kernel"], "1; the agent's version and the kernel that it runs on.";
    Capability, "capability", Gauge, Probe, ["capability", "hook"], "1 for what this kernel lets the agent see, with the hook in use; 0 with an empty hook for what it does not.";
    Lost, "lost_total", Counter, Probe, ["reason"], "What is missing from the other metrics, by reason. All 0: what the hooks can see is counted exactly.";
    MapEntries, "map_entries", Gauge, Probe, ["map"], "Entries in use in the agent's kernel maps, some seconds ago.";
    MapCapacity, "map_capacity", Gauge, Probe, ["map"], "Entries that the agent's kernel maps can hold.";
    ProgramRuns, "program_runs_total", Counter, Probe, ["program"], "Runs of the agent's kernel programs; counted by the kernel while kernel.bpf_stats_enabled is 1.";
    ProgramRunSeconds, "program_run_seconds_total", Counter, Probe, ["program"], "Time in the agent's kernel programs; kept by the kernel while kernel.bpf_stats_enabled is 1.";
    ScrapeDuration, "scrape_duration_seconds", Gauge, Probe, [], "How long the agent took to answer the scrape before this one.";
    Targets, "targets", Gauge, Probe, ["target"], "Processes that are watched now.";
    ProcessesSeen, "processes_seen_total", Counter, Probe, ["target"], "Processes that have been watched.";
    DirectoryFound, "class_directory_found", Gauge, Probe, ["target", "class", "directory"], "1 when a directory of the configuration is there, 0 when the agent is still looking for it.";
    CpuSeconds, "cpu_seconds_total", Counter, Process, [], "Total user and system CPU time spent in seconds.";
    ResidentMemory, "resident_memory_bytes", Gauge, Process, [], "Resident memory size in bytes.";
    VirtualMemory, "virtual_memory_bytes", Gauge, Process, [], "Virtual memory size in bytes.";
    OpenFds, "open_fds", Gauge, Process, [], "Number of open file descriptors.";
    MaxFds, "max_fds", Gauge, Process, [], "Maximum number of open file descriptors.";
    StartTime, "start_time_seconds", Gauge, Process, [], "Start time of the process since the Unix epoch in seconds.";
}

impl Metric {
    /// The full names under a namespace, each with its labels.
    #[must_use]
    pub fn names(&self, namespace: &str) -> Vec<(String, Vec<&'static str>)> {
        let with = |first: &[&'static str]| first.iter().chain(self.labels).copied().collect();
        match self.scope {
            Scope::File => vec![
                (format!("{namespace}_wal_{}", self.name), with(&["target"])),
                (format!("{namespace}_file_{}", self.name), with(&["target", "class"])),
            ],
            Scope::Disk => vec![(format!("{namespace}_disk_{}", self.name), with(&[]))],
            Scope::Writeback => vec![(format!("{namespace}_writeback_{}", self.name), with(&[]))],
            Scope::Probe => vec![(format!("{namespace}_probe_{}", self.name), with(&[]))],
            Scope::Process => vec![(format!("process_{}", self.name), with(&[]))],
        }
    }
}

/// The page `docs/metrics.md`.
#[must_use]
pub fn page(namespace: &str) -> String {
    let mut out = String::from(
        "# Metrics\n\nGenerated by `cargo xtask docs` from `stemedb-probe/src/catalog.rs`; do not edit.\n\n\
        Class `wal` has metrics of its own (`stemedb_wal_*`); every other class shares `stemedb_file_*` and is told by the \
        label `class`. A file that matches nothing is class `other`. Latency buckets are bounds of Prometheus' native \
        histograms of schema 3; sums are exact to the nanosecond.\n\n",
    );
    out += &markdown(namespace);
    out += "\n## What may be missing\n\nThe values of `reason` in `stemedb_probe_lost_total`:\n\n| reason | what it counts |\n|---|---|\n";
    for (reason, what) in stemedb_ebpf::LOST {
        out += &format!("| `{reason}` | {what} |\n");
    }
    out += "\n## Block I/O\n\nThe values of `origin` in `stemedb_disk_*`, and how each is known, are in [architecture.md](architecture.md#a-block-request-from-begin-to-end): \
        `direct`, `writeback`, `journal`, `unknown`. `target` is empty for what is nobody's. For one device the sum over all targets, classes and origins is \
        what /proc/diskstats counts; writes there are `write`, `write_zeroes` and `other` together, and a whole disk's are those of its partitions, too \
        (`stemedb_disk_info`).\n\n\
        Write amplification is the bytes that disks wrote for a target over the bytes that it wrote; \
        `stemedb:write_amplification:ratio5m` of deploy/prometheus/recording.yml has it:\n\n```\n\
        sum by (target, device) (rate(stemedb_disk_bytes_total{op=\"write\"}[5m]))\n\
        / on (target) group_left sum by (target) (rate(stemedb_wal_bytes_written_total[5m]) or rate(stemedb_file_bytes_written_total[5m])\n\
        \x20 or rate(stemedb_wal_mapped_dirtied_bytes_total[5m]) or rate(stemedb_file_mapped_dirtied_bytes_total[5m]))\n```\n";
    out += "\n## Phases of a sync call\n\nThe values of `phase`; how to read them is in [phases.md](phases.md). Blocked time is charged at each instant to the first \
        of `flush`, `journal`, `device`, `queue`, `other` that is known.\n\n| phase | the call is |\n|---|---|\n";
    for (phase, meaning) in PHASES.iter().zip(MEANINGS) {
        out += &format!("| `{phase}` | {meaning} |\n");
    }
    out += "\n## Operations\n\nThe values of `op`, by family:\n\n| op | family |\n|---|---|\n";
    for op in stemedb_ebpf::ops::OPS {
        out += &format!("| `{}` | {} |\n", op.name, format!("{:?}", op.family).to_lowercase());
    }
    out
}

/// The catalogue as a Markdown table.
fn markdown(namespace: &str) -> String {
    let mut out = String::from("| metric | type | labels | what it is |\n|---|---|---|---|\n");
    for metric in METRICS {
        for (name, labels) in metric.names(namespace) {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            out += &format!("| `{name}` | {} | {} | {} |\n", metric.kind.word(), labels.join(", "), metric.help);
        }
    }
    out
}

/// The catalogue as JSON.
#[must_use]
pub fn json(namespace: &str) -> serde_json::Value {
    let rows = METRICS.iter().flat_map(|metric| {
        metric.names(namespace).into_iter().map(|(name, labels)| {
            serde_json::json!({ "name": name, "type": metric.kind, "labels": labels, "help": metric.help })
        })
    });
    rows.collect()
}

/// The catalogue as a table for a terminal.
#[must_use]
pub fn text(namespace: &str) -> String {
    let mut out = String::new();
    for metric in METRICS {
        for (name, labels) in metric.names(namespace) {
            out += &format!("{name}{{{}}}  {}\n    {}\n", labels.join(","), metric.kind.word(), metric.help);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = HashSet::new();
        for metric in METRICS {
            for (name, labels) in metric.names("stemedb") {
                assert!(seen.insert(name.clone()), "{name} is there twice");
                assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
                assert_eq!(
                    metric.kind == Kind::Counter,
                    name.ends_with("_total"),
                    "{name}: only counters end in _total"
                );
                assert!(
                    !name.contains("milli") && !name.contains("micro") && !name.contains("_ns"),
                    "{name}: base units"
                );
                assert!(
                    !labels.contains(&"le") && labels.iter().collect::<HashSet<_>>().len() == labels.len(),
                    "{name}"
                );
            }
            assert!(metric.help.ends_with('.') && metric.help.len() > 20, "{}: a help text is a sentence", metric.name);
        }
    }

    #[test]
    fn every_row_has_an_id_of_its_own() {
        let ids: HashSet<Id> = METRICS.iter().map(|metric| metric.id).collect();
        assert_eq!(ids.len(), METRICS.len());
    }

    #[test]
    fn the_names_that_operators_asked_for_are_there() {
        let names: HashSet<String> =
            METRICS.iter().flat_map(|metric| metric.names("stemedb")).map(|(name, _)| name).collect();
        for name in [
            "fsync_latency_seconds",
            "fsync_phase_seconds_total",
            "flush_latency_seconds",
            "writes_total",
            "bytes_written_total",
            "write_errors_total",
            "disk_usage_bytes",
            "segments_count",
            "rotations_total",
            "writes_per_fsync",
            "bytes_per_fsync",
        ] {
            assert!(
                names.contains(&format!("stemedb_wal_{name}")) && names.contains(&format!("stemedb_file_{name}")),
                "{name}"
            );
        }
    }
}
