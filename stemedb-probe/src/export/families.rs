//! Which samples a snapshot gives for each row of the catalogue.

use stemedb_ebpf::LOST;
use stemedb_ebpf::ops::{Family as OpFamily, OPS, SYNC_OPS};
use stemedb_ebpf::phases::PHASES;
use stemedb_ebpf::slots::{BOUNDS, LE_STEP, SIZE_SLOTS, SLOTS, bound_seconds};

use super::disks;
use super::text::{Family, Number, Value};
use crate::catalog::{Id, METRICS, Scope};
use crate::config::WAL;
use crate::probes::sync::SyncSeries;
use crate::probes::write::{Slots, WriteSeries};
use crate::process;
use crate::snapshot::{DirectoryState, Snapshot};

pub(super) type Labels = Vec<(&'static str, String)>;
pub(super) type Samples = Vec<(Labels, Value)>;

/// Errors that alerts watch: their series are there from the start, so that the first one is an increase.
const WATCHED_ERRORS: &[(&str, &str)] =
    &[("fsync", "EIO"), ("fdatasync", "EIO"), ("write", "EIO"), ("write", "ENOSPC")];

/// Every family that has a sample.
#[must_use]
pub fn families(snapshot: &Snapshot, namespace: &str) -> Vec<Family> {
    let own = process::figures();
    let mut out = Vec::new();
    for metric in METRICS {
        let names = metric.names(namespace);
        let samples = match metric.scope {
            Scope::File => file_samples(metric.id, snapshot),
            Scope::Disk | Scope::Writeback => vec![disks::samples(metric.id, snapshot)],
            Scope::Probe => vec![probe_samples(metric.id, snapshot)],
            Scope::Process => vec![process_sample(metric.id, &own)],
        };
        for ((name, _), samples) in names.into_iter().zip(samples) {
            out.push(Family { name, kind: metric.kind, help: metric.help, samples });
        }
    }
    out
}

/// The samples of a metric about files: those of class `wal`, then those of the others.
fn file_samples(id: Id, snapshot: &Snapshot) -> Vec<Samples> {
    let mut wal = Vec::new();
    let mut others = Vec::new();
    for (target, class) in cells(snapshot) {
        for (labels, value) in cell_samples(id, snapshot, target, class) {
            let name = &snapshot.classes[class as usize];
            let mut all = vec![("target", snapshot.targets[target as usize].name.clone())];
            if name == WAL {
                wal.push(([all, labels].concat(), value));
            } else {
                all.push(("class", name.clone()));
                others.push(([all, labels].concat(), value));
            }
        }
    }
    vec![wal, others]
}

/// Cells to show: those that are configured, `other` of each target, and any with activity.
fn cells(snapshot: &Snapshot) -> Vec<(u32, u32)> {
    let targets = 0..u32::try_from(snapshot.targets.len()).unwrap_or(0);
    let mut cells: Vec<(u32, u32)> = targets.map(|target| (target, 0)).collect();
    cells.extend(snapshot.directories.iter().map(|d| (d.target, d.class)));
    cells.extend(snapshot.syncs.iter().map(|s| (s.target, s.class)));
    cells.extend(snapshot.writes.iter().map(|w| (w.target, w.class)));
    cells.extend(snapshot.mapped.iter().map(|m| (m.target, m.class)));
    cells.sort_unstable();
    cells.dedup();
    cells
}

fn cell_samples(id: Id, snapshot: &Snapshot, target: u32, class: u32) -> Samples {
    let is_here = |t: u32, c: u32| (t, c) == (target, class);
    let syncs: Vec<&SyncSeries> = snapshot.syncs.iter().filter(|s| is_here(s.target, s.class)).collect();
    let write = snapshot.writes.iter().find(|w| is_here(w.target, w.class));
    let directories = || snapshot.directories.iter().filter(|d| is_here(d.target, d.class));
    match id {
        Id::FsyncLatency => {
            or_zero(syncs.iter().map(|s| (op_label(s.op), latency(&s.slots, s.sum_ns))).collect(), || {
                (op_label(0), latency(&[0; SLOTS], 0))
            })
        }
        Id::FsyncLatencyMax => {
            syncs.iter().map(|s| (op_label(s.op), Value::Number(Number::Nanoseconds(s.max_ns)))).collect()
        }
        Id::FsyncPhase => {
            let sum = |phase: usize| Value::Number(Number::Nanoseconds(syncs.iter().map(|s| s.phases[phase]).sum()));
            PHASES.iter().enumerate().map(|(n, phase)| (vec![("phase", (*phase).to_owned())], sum(n))).collect()
        }
        Id::WriteLatency => vec![(vec![], write.map_or_else(|| latency(&[0; SLOTS], 0), |w| of_latency(&w.latency)))],
        Id::FlushLatency => vec![(vec![], write.map_or_else(|| latency(&[0; SLOTS], 0), |w| of_latency(&w.flush)))],
        Id::WritesPerFsync => vec![(vec![], sizes(write.map(|w| &w.group_writes), 0..=16))],
        Id::BytesPerFsync => vec![(vec![], sizes(write.map(|w| &w.group_bytes), 9..=30))],
        Id::Writes => by_op(write, |w| &w.calls),
        Id::BytesWritten => by_op(write, |w| &w.bytes),
        Id::MappedDirtied => {
            let mapped = snapshot.mapped.iter().find(|m| is_here(m.target, m.class));
            vec![(vec![], whole(mapped.map_or(0, |m| m.bytes)))]
        }
        Id::WriteErrors => error_samples(snapshot, target, class),
        Id::DiskUsage => measured(directories(), |usage| usage.disk_bytes),
        Id::FilesystemSize => measured(directories(), |usage| usage.filesystem.size),
        Id::FilesystemAvailable => measured(directories(), |usage| usage.filesystem.available),
        Id::Segments => measured(directories(), |usage| usage.files),
        Id::Rotations => match directories().map(|d| d.rotations).max() {
            Some(rotations) => vec![(vec![], whole(rotations))],
            None => vec![],
        },
        _ => vec![],
    }
}

pub(super) fn whole(n: u64) -> Value {
    Value::Number(Number::Whole(n))
}

fn op_label(op: u32) -> Labels {
    vec![("op", op_name(op).to_owned())]
}

/// The name of an operation by its number.
#[must_use]
pub fn op_name(op: u32) -> &'static str {
    OPS.get(op as usize).map_or("", |op| op.name)
}

fn or_zero(samples: Samples, zero: impl Fn() -> (Labels, Value)) -> Samples {
    if samples.is_empty() { vec![zero()] } else { samples }
}

/// A histogram from latency slots.
fn latency(slots: &[u64], sum_ns: u64) -> Value {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(BOUNDS / LE_STEP + 1);
    for (slot, count) in slots.iter().enumerate().take(BOUNDS) {
        cumulative += count;
        if slot % LE_STEP == 0 {
            buckets.push((bound_seconds(slot), cumulative));
        }
    }
    Value::Histogram { buckets, sum: Number::Nanoseconds(sum_ns), count: slots.iter().sum() }
}

pub(super) fn of_latency(slots: &Slots) -> Value {
    latency(&slots.slots, slots.sum)
}

/// A histogram from size slots, with the bounds 0 and the powers of two of a range.
fn sizes(slots: Option<&Slots>, exponents: std::ops::RangeInclusive<usize>) -> Value {
    let empty = Slots { sum: 0, slots: vec![0; SIZE_SLOTS] };
    let slots = slots.unwrap_or(&empty);
    let mut cumulative = 0;
    let mut buckets = Vec::new();
    for (slot, count) in slots.slots.iter().enumerate().take(SIZE_SLOTS - 1) {
        cumulative += count;
        if slot == 0 {
            buckets.push((0.0, cumulative));
        } else if exponents.contains(&(slot - 1)) {
            buckets.push(((1_u64 << (slot - 1)) as f64, cumulative));
        }
    }
    Value::Histogram { buckets, sum: Number::Whole(slots.sum), count: slots.slots.iter().sum() }
}

/// One sample for each operation of the write family that was used; `write` always.
fn by_op(write: Option<&WriteSeries>, figures: impl Fn(&WriteSeries) -> &[u64]) -> Samples {
    let mut out = Vec::new();
    for (i, op) in OPS.iter().enumerate().filter(|(_, op)| op.family == OpFamily::Write) {
        let used = write.is_some_and(|w| w.calls[i - SYNC_OPS] != 0);
        if used || op.name == "write" {
            let n = write.map_or(0, |w| figures(w)[i - SYNC_OPS]);
            out.push((vec![("op", op.name.to_owned())], whole(n)));
        }
    }
    out
}

fn error_samples(snapshot: &Snapshot, target: u32, class: u32) -> Samples {
    let labels = |op: &str, error: &str| vec![("op", op.to_owned()), ("error", error.to_owned())];
    let seen = snapshot.errors.iter().filter(|e| (e.target, e.class) == (target, class));
    let mut out: Samples = seen.map(|e| (labels(op_name(e.op), &e.error), whole(e.count))).collect();
    for (op, error) in WATCHED_ERRORS {
        let labels = labels(op, error);
        if out.iter().all(|(other, _)| *other != labels) {
            out.push((labels, whole(0)));
        }
    }
    out
}

fn measured<'d>(
    directories: impl Iterator<Item = &'d DirectoryState>,
    figure: impl Fn(&crate::files::usage::Usage) -> u64,
) -> Samples {
    let usage = directories.filter_map(|d| d.usage.as_ref()).map(figure).reduce(u64::max);
    usage.map(|n| (vec![], whole(n))).into_iter().collect()
}

fn probe_samples(id: Id, snapshot: &Snapshot) -> Samples {
    let one = |label: &'static str, value: &str, n: Value| (vec![(label, value.to_owned())], n);
    match id {
        Id::BuildInfo => {
            vec![(
                vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("kernel", snapshot.kernel.clone())],
                whole(1),
            )]
        }
        Id::Capability => {
            let row = |v: &crate::kernel::Verdict| {
                let hook = v.hook.clone().unwrap_or_default();
                (vec![("capability", v.capability.to_owned()), ("hook", hook)], whole(u64::from(v.hook.is_some())))
            };
            snapshot.capabilities.iter().map(row).collect()
        }
        Id::Lost => LOST.iter().zip(&snapshot.lost).map(|((reason, _), n)| one("reason", reason, whole(*n))).collect(),
        Id::MapEntries => snapshot.maps.iter().map(|map| one("map", map.name, whole(map.entries))).collect(),
        Id::MapCapacity => snapshot.maps.iter().map(|map| one("map", map.name, whole(map.capacity))).collect(),
        Id::ProgramRuns => snapshot.programs.iter().map(|p| one("program", &p.name, whole(p.runs))).collect(),
        Id::ProgramRunSeconds => snapshot
            .programs
            .iter()
            .map(|p| one("program", &p.name, Value::Number(Number::Nanoseconds(p.run_ns))))
            .collect(),
        Id::ScrapeDuration => vec![(vec![], Value::Number(Number::Float(snapshot.scrape_seconds)))],
        Id::Targets => {
            snapshot.targets.iter().map(|t| one("target", &t.name, whole(t.processes.len() as u64))).collect()
        }
        Id::ProcessesSeen => snapshot.targets.iter().map(|t| one("target", &t.name, whole(t.seen))).collect(),
        Id::DirectoryFound => snapshot.directories.iter().map(|d| directory_found(snapshot, d)).collect(),
        _ => vec![],
    }
}

fn directory_found(snapshot: &Snapshot, directory: &DirectoryState) -> (Labels, Value) {
    let labels = vec![
        ("target", snapshot.targets[directory.target as usize].name.clone()),
        ("class", snapshot.classes[directory.class as usize].clone()),
        ("directory", directory.pattern.clone()),
    ];
    (labels, whole(u64::from(directory.found)))
}

fn process_sample(id: Id, own: &process::Figures) -> Samples {
    let number = match id {
        Id::CpuSeconds => Number::Float(own.cpu_seconds),
        Id::ResidentMemory => Number::Whole(own.resident_bytes),
        Id::VirtualMemory => Number::Whole(own.virtual_bytes),
        Id::OpenFds => Number::Whole(own.open_fds),
        Id::MaxFds => Number::Whole(own.max_fds),
        _ => Number::Float(own.start_seconds),
    };
    vec![(vec![], Value::Number(number))]
}
