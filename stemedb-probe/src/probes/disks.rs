//! Block I/O: counts, latencies, flushes and failures by device.

use aya::maps::{HashMap, MapData, PerCpuArray, PerCpuHashMap};
use serde::Serialize;
use stemedb_ebpf::disk::{
    DISK_OPS, DiskCounts, DiskErrorKey, DiskKey, FileErrorKey, FlushKey, FlushStats, LatencyKey, LatencyStats,
    NO_TARGET, ORIGINS,
};
use stemedb_ebpf::slots::SLOTS;
use stemedb_ebpf::tables::Ids;

use super::add_slots;
use super::errors;
use super::table;
use super::write::Slots;
use crate::kernel::shared::{Shared, Source};
use crate::kernel::{Kernel, KernelError};

/// Everything about block I/O.
#[derive(Debug, Clone, Default)]
pub struct Disks {
    /// Requests that ended.
    pub counts: Vec<CountSeries>,
    /// Their latencies.
    pub latencies: Vec<LatencySeries>,
    /// The flushes that they asked for.
    pub flushes: Vec<FlushSeries>,
    /// Those that failed.
    pub errors: Vec<DiskErrorSeries>,
    /// Errors that the kernel recorded against files: target, class, count.
    pub file_errors: Vec<(u32, u32, u64)>,
}

/// Requests that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CountSeries {
    /// Device, in the kernel's own encoding.
    pub dev: u32,
    /// Index of the target; `None` for what is nobody's.
    pub target: Option<u32>,
    /// Number of the class.
    pub class: u32,
    /// Value of the label `op`.
    pub op: &'static str,
    /// Value of the label `origin`.
    pub origin: &'static str,
    /// Requests.
    pub ios: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Latencies that are counted together.
#[derive(Debug, Clone)]
pub struct LatencySeries {
    /// Device, in the kernel's own encoding.
    pub dev: u32,
    /// Index of the target; `None` for what is nobody's.
    pub target: Option<u32>,
    /// Value of the label `op`.
    pub op: &'static str,
    /// From the block layer to the driver.
    pub queue: Slots,
    /// From the driver to the end.
    pub device: Slots,
}

/// Flushes that are counted together.
#[derive(Debug, Clone)]
pub struct FlushSeries {
    /// Device, in the kernel's own encoding.
    pub dev: u32,
    /// Index of the target; `None` for what is nobody's.
    pub target: Option<u32>,
    /// Writes that asked for the medium.
    pub fua: u64,
    /// How long requests waited for a flush.
    pub waits: Slots,
}

/// Failed requests that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DiskErrorSeries {
    /// Device, in the kernel's own encoding.
    pub dev: u32,
    /// Index of the target; `None` for what is nobody's.
    pub target: Option<u32>,
    /// Number of the class.
    pub class: u32,
    /// Value of the label `op`.
    pub op: &'static str,
    /// Name of the status.
    pub error: String,
    /// How many.
    pub count: u64,
}

/// Reads the maps.
pub struct Reader {
    cells: Shared<Ids>,
    counts: PerCpuArray<MapData, DiskCounts>,
    latency_cells: Shared<Ids>,
    latencies: PerCpuArray<MapData, LatencyStats>,
    requests: Source<Ids>,
    flushes: PerCpuHashMap<MapData, FlushKey, FlushStats>,
    errors: HashMap<MapData, DiskErrorKey, u64>,
    file_errors: HashMap<MapData, FileErrorKey, u64>,
}

impl Reader {
    /// Takes the maps.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self {
            cells: Shared::new(kernel, "DISK_CELLS")?,
            counts: kernel.take("DISK_COUNTS")?,
            latency_cells: Shared::new(kernel, "LATENCY_CELLS")?,
            latencies: kernel.take("DISK_LATENCIES")?,
            requests: Source::new(kernel, "REQUEST_IDS")?,
            flushes: kernel.take("DISK_FLUSHES")?,
            errors: kernel.take("DISK_ERRORS")?,
            file_errors: kernel.take("FILE_ERRORS")?,
        })
    }

    /// Requests, and bios of devices that take none, that have begun and not ended.
    pub fn in_flight(&self) -> Result<u64, KernelError> {
        Ok(table::taken(&self.requests.map()?).count() as u64)
    }

    /// Everything, in a fixed order.
    pub fn read(&self) -> Result<Disks, KernelError> {
        let mut out = Disks::default();
        for (place, word) in table::taken(&self.cells) {
            let (key, values) = (DiskKey::of(word), self.counts.get(&place, 0)?);
            out.counts.push(CountSeries {
                dev: key.dev,
                target: target(key.target),
                class: key.class,
                op: name(DISK_OPS, key.op.into()),
                origin: name(ORIGINS, key.origin.into()),
                ios: values.iter().map(|value| value.ios).sum(),
                bytes: values.iter().map(|value| value.bytes).sum(),
            });
        }
        for (place, word) in table::taken(&self.latency_cells) {
            let (key, values) = (LatencyKey::of(word), self.latencies.get(&place, 0)?);
            let (mut queue, mut device) = (none(), none());
            for value in values.iter() {
                queue.sum += value.queue_sum_ns;
                device.sum += value.device_sum_ns;
                add_slots(&mut queue.slots, &value.queue);
                add_slots(&mut device.slots, &value.device);
            }
            let (target, op) = (target(key.target), name(DISK_OPS, key.op));
            out.latencies.push(LatencySeries { dev: key.dev, target, op, queue, device });
        }
        for entry in &self.flushes {
            let (key, values) = entry?;
            let mut series = FlushSeries { dev: key.dev, target: target(key.target), fua: 0, waits: none() };
            for value in values.iter() {
                series.fua += value.fua;
                series.waits.sum += value.sum_ns;
                add_slots(&mut series.waits.slots, &value.slots);
            }
            out.flushes.push(series);
        }
        for entry in &self.errors {
            let (key, count) = entry?;
            out.errors.push(DiskErrorSeries {
                dev: key.dev,
                target: target(key.target),
                class: key.class,
                op: name(DISK_OPS, key.op.into()),
                error: status_name(key.status),
                count,
            });
        }
        for entry in &self.file_errors {
            let (key, count) = entry?;
            out.file_errors.push((key.target, key.class, count));
        }
        out.counts.sort();
        out.latencies.sort_by_key(|one| (one.dev, one.target, one.op));
        out.flushes.sort_by_key(|one| (one.dev, one.target));
        out.errors.sort();
        out.file_errors.sort_unstable();
        Ok(out)
    }
}

impl Disks {
    /// Every device that has been seen.
    pub fn devices(&self) -> impl Iterator<Item = u32> {
        let counted = self.counts.iter().map(|one| one.dev);
        counted.chain(self.latencies.iter().map(|one| one.dev)).chain(self.errors.iter().map(|one| one.dev))
    }
}

fn none() -> Slots {
    Slots { sum: 0, slots: vec![0; SLOTS] }
}

fn target(index: u32) -> Option<u32> {
    (index != NO_TARGET).then_some(index)
}

fn name(table: &[&'static str], number: u32) -> &'static str {
    table.get(number as usize).copied().unwrap_or("other")
}

/// `BLK_STS_...` of include/linux/blk_types.h, in lower case; those from 14 on have other numbers from kernel to kernel.
const STATUSES: &[&str] = &[
    "ok",
    "notsupp",
    "timeout",
    "nospc",
    "transport",
    "target",
    "resv_conflict",
    "medium",
    "protection",
    "resource",
    "ioerr",
    "dm_requeue",
    "again",
    "dev_resource",
];

/// The name of a status; a negative one is an errno, from kernels before 5.16.
fn status_name(status: i16) -> String {
    match usize::try_from(status) {
        Err(_) => errors::name(status.unsigned_abs()),
        Ok(number) => STATUSES.get(number).map_or_else(|| format!("status_{number}"), |name| (*name).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_the_kernels_name() {
        assert_eq!([3, 7, 10, 99, -5].map(status_name), ["nospc", "medium", "ioerr", "status_99", "EIO"]);
    }
}
