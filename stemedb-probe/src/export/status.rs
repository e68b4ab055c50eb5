//! `/status`: the same snapshot for people and for programs, with every slot and with quantiles.

use serde_json::{Map, Value, json};
use stemedb_ebpf::LOST;
use stemedb_ebpf::ops::{OPS, SYNC_OPS};
use stemedb_ebpf::phases::{PHASES, Parts};
use stemedb_ebpf::slots::{QUANTILE_ERROR, quantile};

use super::disks;
use super::families::op_name;
use crate::snapshot::Snapshot;

/// Builds the document.
#[must_use]
pub fn status(snapshot: &Snapshot, uptime_seconds: f64) -> Value {
    let lost: Map<String, Value> =
        LOST.iter().zip(&snapshot.lost).map(|((reason, _), n)| ((*reason).to_owned(), json!(n))).collect();
    let maps: Map<String, Value> = snapshot
        .maps
        .iter()
        .map(|map| (map.name.to_owned(), json!({ "entries": map.entries, "capacity": map.capacity })))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": snapshot.kernel,
        "uptime_seconds": uptime_seconds,
        "quantile_error": QUANTILE_ERROR,
        "capabilities": snapshot.capabilities,
        "targets": targets(snapshot),
        "classes": classes(snapshot),
        "series": syncs(snapshot),
        "writes": writes(snapshot),
        "mapped": mapped(snapshot),
        "errors": errors(snapshot),
        "devices": snapshot.devices.values().collect::<Vec<_>>(),
        "disks": disks::status(snapshot),
        "maps": maps,
        "lost": lost,
    })
}

fn target(snapshot: &Snapshot, index: u32) -> &str {
    snapshot.targets.get(index as usize).map_or("", |target| target.name.as_str())
}

fn class(snapshot: &Snapshot, number: u32) -> &str {
    snapshot.classes.get(number as usize).map_or("", String::as_str)
}

fn targets(snapshot: &Snapshot) -> Value {
    /// Processes that are listed by name; the count is always whole.
    const LISTED: usize = 100;
    let one = |target: &crate::snapshot::TargetState| {
        let listed = target.processes.iter().take(LISTED);
        let listed: Vec<Value> = listed.map(|(pid, comm)| json!({ "pid": pid, "comm": comm })).collect();
        json!({
            "name": target.name,
            "rules": target.rules,
            "process_count": target.processes.len(),
            "processes_seen": target.seen,
            "processes": listed,
        })
    };
    snapshot.targets.iter().map(one).collect()
}

fn classes(snapshot: &Snapshot) -> Value {
    let one = |d: &crate::snapshot::DirectoryState| {
        json!({
            "target": target(snapshot, d.target),
            "class": class(snapshot, d.class),
            "pattern": d.pattern,
            "origin": d.origin,
            "found": d.found,
            "problem": d.problem,
            "disk_bytes": d.usage.map(|usage| usage.disk_bytes),
            "files": d.usage.map(|usage| usage.files),
            "rotations": d.rotations,
            "mount": d.mount,
        })
    };
    snapshot.directories.iter().map(one).collect()
}

fn syncs(snapshot: &Snapshot) -> Value {
    let one = |s: &crate::probes::sync::SyncSeries| {
        json!({
            "target": target(snapshot, s.target),
            "class": class(snapshot, s.class),
            "op": op_name(s.op),
            "calls": s.calls,
            "sum_ns": s.sum_ns,
            "max_ns": s.max_ns,
            "phases_ns": phases(&s.phases),
            "quantiles": quantiles(&s.slots),
            "slots": sparse(&s.slots),
        })
    };
    snapshot.syncs.iter().map(one).collect()
}

fn writes(snapshot: &Snapshot) -> Value {
    let one = |w: &crate::probes::write::WriteSeries| {
        let ops = OPS.iter().skip(SYNC_OPS).zip(w.calls.iter().zip(&w.bytes)).filter(|(_, (calls, _))| **calls != 0);
        let ops: Vec<Value> =
            ops.map(|(op, (calls, bytes))| json!({ "op": op.name, "calls": calls, "bytes": bytes })).collect();
        json!({
            "target": target(snapshot, w.target),
            "class": class(snapshot, w.class),
            "ops": ops,
            "sum_ns": w.latency.sum,
            "max_ns": w.max_ns,
            "quantiles": quantiles(&w.latency.slots),
            "slots": sparse(&w.latency.slots),
            "flush": { "sum_ns": w.flush.sum, "quantiles": quantiles(&w.flush.slots), "slots": sparse(&w.flush.slots) },
            "group_writes": { "sum": w.group_writes.sum, "slots": sparse(&w.group_writes.slots) },
            "group_bytes": { "sum": w.group_bytes.sum, "slots": sparse(&w.group_bytes.slots) },
        })
    };
    snapshot.writes.iter().map(one).collect()
}

fn mapped(snapshot: &Snapshot) -> Value {
    let one = |m: &crate::probes::mapped::MappedSeries| json!({ "target": target(snapshot, m.target), "class": class(snapshot, m.class), "folios": m.folios, "bytes": m.bytes });
    snapshot.mapped.iter().map(one).collect()
}

fn errors(snapshot: &Snapshot) -> Value {
    let one = |e: &crate::probes::errors::ErrorSeries| json!({ "target": target(snapshot, e.target), "class": class(snapshot, e.class), "op": op_name(e.op), "error": e.error, "count": e.count });
    snapshot.errors.iter().map(one).collect()
}

/// Time by the names of the phases.
fn phases(parts: &Parts) -> Map<String, Value> {
    PHASES.iter().zip(parts).map(|(phase, ns)| ((*phase).to_owned(), json!(ns))).collect()
}

pub(super) fn quantiles(slots: &[u64]) -> Value {
    let q = |q| quantile(slots, q);
    json!({ "p50": q(0.5), "p90": q(0.9), "p99": q(0.99), "p999": q(0.999) })
}

/// Slots that are not empty, as pairs of slot and count.
pub(super) fn sparse(slots: &[u64]) -> Vec<(usize, u64)> {
    slots.iter().copied().enumerate().filter(|(_, count)| *count != 0).collect()
}
