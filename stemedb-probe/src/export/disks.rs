//! The samples of block I/O.

use serde_json::{Value, json};

use super::families::{Labels, Samples, of_latency, whole};
use super::status::{quantiles, sparse};
use crate::catalog::Id;
use crate::probes::disks::{CountSeries, DiskErrorSeries, FlushSeries, LatencySeries};
use crate::probes::write::Slots;
use crate::snapshot::Snapshot;

/// The samples of a metric about block I/O.
pub(super) fn samples(id: Id, snapshot: &Snapshot) -> Samples {
    let disks = &snapshot.disks;
    match id {
        Id::DiskIos | Id::DiskBytes => {
            let figure = |one: &CountSeries| if id == Id::DiskIos { one.ios } else { one.bytes };
            let row = |one: &CountSeries| {
                let mut labels = labels(snapshot, one.target, one.dev, Some(one.op));
                labels.push(("class", class(snapshot, one.class)));
                labels.push(("origin", one.origin.to_owned()));
                (labels, whole(figure(one)))
            };
            disks.counts.iter().map(row).collect()
        }
        Id::DiskLatency => {
            let row = |one: &LatencySeries, stage: &str, slots| {
                let mut labels = labels(snapshot, one.target, one.dev, Some(one.op));
                labels.push(("stage", stage.to_owned()));
                (labels, of_latency(slots))
            };
            let rows = |one| {
                let one: &LatencySeries = one;
                [row(one, "queue", &one.queue), row(one, "device", &one.device)]
            };
            disks.latencies.iter().flat_map(rows).collect()
        }
        Id::DiskFlushLatency => {
            let row = |one: &FlushSeries| (labels(snapshot, one.target, one.dev, None), of_latency(&one.waits));
            disks.flushes.iter().map(row).collect()
        }
        Id::DiskFua => {
            let row = |one: &FlushSeries| (labels(snapshot, one.target, one.dev, None), whole(one.fua));
            disks.flushes.iter().map(row).collect()
        }
        Id::DiskErrors => {
            let row = |one: &DiskErrorSeries| {
                let mut labels = labels(snapshot, one.target, one.dev, Some(one.op));
                labels.push(("class", class(snapshot, one.class)));
                labels.push(("error", one.error.clone()));
                (labels, whole(one.count))
            };
            disks.errors.iter().map(row).collect()
        }
        Id::DiskInfo => {
            let row = |device: &crate::disks::Device| {
                let mapper = device.mapper.clone().unwrap_or_default();
                (vec![("device", device.name.clone()), ("disk", device.disk.clone()), ("mapper", mapper)], whole(1))
            };
            snapshot.devices.values().map(row).collect()
        }
        Id::WritebackErrors => file_errors(snapshot),
        _ => vec![],
    }
}

/// The part of `/status` about block I/O.
pub(super) fn status(snapshot: &Snapshot) -> Value {
    let disks = &snapshot.disks;
    let counts = |one: &CountSeries| {
        json!({
            "target": target(snapshot, one.target), "device": device(snapshot, one.dev), "op": one.op,
            "class": class(snapshot, one.class), "origin": one.origin, "ios": one.ios, "bytes": one.bytes,
        })
    };
    let stage = |slots: &Slots| json!({ "sum_ns": slots.sum, "quantiles": quantiles(&slots.slots), "slots": sparse(&slots.slots) });
    let latencies = |one: &LatencySeries| {
        json!({
            "target": target(snapshot, one.target), "device": device(snapshot, one.dev), "op": one.op,
            "stages": { "queue": stage(&one.queue), "device": stage(&one.device) },
        })
    };
    let flushes = |one: &FlushSeries| {
        json!({
            "target": target(snapshot, one.target), "device": device(snapshot, one.dev), "fua": one.fua,
            "waits": stage(&one.waits),
        })
    };
    let errors = |one: &DiskErrorSeries| {
        json!({
            "target": target(snapshot, one.target), "device": device(snapshot, one.dev), "op": one.op,
            "class": class(snapshot, one.class), "error": one.error, "count": one.count,
        })
    };
    let file_errors = |(index, number, count): &(u32, u32, u64)| json!({ "target": target(snapshot, Some(*index)), "class": class(snapshot, *number), "count": count });
    json!({
        "counts": disks.counts.iter().map(counts).collect::<Vec<_>>(),
        "latencies": disks.latencies.iter().map(latencies).collect::<Vec<_>>(),
        "flushes": disks.flushes.iter().map(flushes).collect::<Vec<_>>(),
        "errors": disks.errors.iter().map(errors).collect::<Vec<_>>(),
        "writeback_errors": disks.file_errors.iter().map(file_errors).collect::<Vec<_>>(),
    })
}

/// Every class that is configured, so that the first error is an increase.
fn file_errors(snapshot: &Snapshot) -> Samples {
    let mut cells: Vec<(u32, u32)> = snapshot.directories.iter().map(|d| (d.target, d.class)).collect();
    cells.extend((0..).take(snapshot.targets.len()).map(|target| (target, 0)));
    cells.extend(snapshot.disks.file_errors.iter().map(|(target, class, _)| (*target, *class)));
    cells.sort_unstable();
    cells.dedup();
    let count = |(target, class): (u32, u32)| {
        let mut all = snapshot.disks.file_errors.iter();
        all.find(|(t, c, _)| (*t, *c) == (target, class)).map_or(0, |(_, _, count)| *count)
    };
    let row = |(index, number)| {
        (
            vec![("target", target(snapshot, Some(index))), ("class", class(snapshot, number))],
            whole(count((index, number))),
        )
    };
    cells.into_iter().map(row).collect()
}

fn labels(snapshot: &Snapshot, index: Option<u32>, dev: u32, op: Option<&str>) -> Labels {
    let mut labels = vec![("target", target(snapshot, index)), ("device", device(snapshot, dev))];
    labels.extend(op.map(|op| ("op", op.to_owned())));
    labels
}

/// The name of a target; empty for what is nobody's.
pub(super) fn target(snapshot: &Snapshot, index: Option<u32>) -> String {
    index.and_then(|index| snapshot.targets.get(index as usize)).map_or_else(String::new, |target| target.name.clone())
}

pub(super) fn class(snapshot: &Snapshot, number: u32) -> String {
    snapshot.classes.get(number as usize).cloned().unwrap_or_default()
}

/// The name of a device.
pub(super) fn device(snapshot: &Snapshot, dev: u32) -> String {
    snapshot.devices.get(&dev).map_or_else(|| crate::disks::unknown(dev).name, |device| device.name.clone())
}
