//! The write family: calls, bytes and latencies, and the groups in which syncs made them durable.

use aya::maps::{MapData, PerCpuArray};
use serde::Serialize;
use stemedb_ebpf::WriteStats;
use stemedb_ebpf::ops::WRITE_OPS;
use stemedb_ebpf::slots::{SIZE_SLOTS, SLOTS};

use super::{add_slots, split_cell};
use crate::kernel::{Kernel, KernelError};

/// A histogram with its exact sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Slots {
    /// Sum of the values.
    pub sum: u64,
    /// Counts by slot.
    pub slots: Vec<u64>,
}

/// Writes to one class, over all processors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WriteSeries {
    /// Index of the target.
    pub target: u32,
    /// Number of the class.
    pub class: u32,
    /// Calls by operation, from [`stemedb_ebpf::ops::SYNC_OPS`] on.
    pub calls: [u64; WRITE_OPS],
    /// Bytes by operation.
    pub bytes: [u64; WRITE_OPS],
    /// Latency of the calls in nanoseconds.
    pub latency: Slots,
    /// The longest.
    pub max_ns: u64,
    /// From the first write of a group to the return of the sync that covers it, in nanoseconds.
    pub flush: Slots,
    /// Writes in a group.
    pub group_writes: Slots,
    /// Bytes in a group.
    pub group_bytes: Slots,
}

impl WriteSeries {
    fn new(target: u32, class: u32) -> Self {
        let empty = |len| Slots { sum: 0, slots: vec![0; len] };
        Self {
            target,
            class,
            calls: [0; WRITE_OPS],
            bytes: [0; WRITE_OPS],
            latency: empty(SLOTS),
            max_ns: 0,
            flush: empty(SLOTS),
            group_writes: empty(SIZE_SLOTS),
            group_bytes: empty(SIZE_SLOTS),
        }
    }

    fn add(&mut self, value: &WriteStats) {
        add_slots(&mut self.calls, &value.calls);
        add_slots(&mut self.bytes, &value.bytes);
        self.max_ns = self.max_ns.max(value.max_ns);
        for (sum, n, slots) in [
            (&mut self.latency, value.sum_ns, &value.slots[..]),
            (&mut self.flush, value.flush_sum_ns, &value.flush_slots[..]),
            (&mut self.group_writes, value.group_writes, &value.group_writes_slots[..]),
            (&mut self.group_bytes, value.group_bytes, &value.group_bytes_slots[..]),
        ] {
            sum.sum += n;
            add_slots(&mut sum.slots, slots);
        }
    }

    fn is_empty(&self) -> bool {
        self.calls.iter().all(|calls| *calls == 0) && self.group_writes.slots.iter().all(|count| *count == 0)
    }
}

/// Reads the map.
pub struct Reader {
    stats: PerCpuArray<MapData, WriteStats>,
    classes: u32,
}

impl Reader {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel, classes: u32) -> Result<Self, KernelError> {
        Ok(Self { stats: kernel.take("WRITE_STATS")?, classes })
    }

    /// Every series that has had a call or a group.
    pub fn read(&self) -> Result<Vec<WriteSeries>, KernelError> {
        let mut out = Vec::new();
        for cell in 0..self.stats.len() {
            let (target, class) = split_cell(cell, self.classes);
            let mut series = WriteSeries::new(target, class);
            for value in self.stats.get(&cell, 0)?.iter() {
                series.add(value);
            }
            if !series.is_empty() {
                out.push(series);
            }
        }
        Ok(out)
    }
}
