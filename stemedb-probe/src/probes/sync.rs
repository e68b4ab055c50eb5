//! The fsync family: calls and latencies.

use aya::maps::{MapData, PerCpuArray};
use serde::Serialize;
use stemedb_ebpf::ops::SYNC_OPS;
use stemedb_ebpf::phases::Parts;
use stemedb_ebpf::slots::SLOTS;
use stemedb_ebpf::{SYNC_CELL, SyncStats};

use super::{add_slots, split_cell};
use crate::kernel::{Kernel, KernelError};

/// Calls of one operation on one class, over all processors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncSeries {
    /// Index of the target.
    pub target: u32,
    /// Number of the class.
    pub class: u32,
    /// [`stemedb_ebpf::ops::Op`]
    pub op: u32,
    /// Calls that returned.
    pub calls: u64,
    /// Sum of their latencies in nanoseconds.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Where that time went, by [`stemedb_ebpf::phases::Phase`], in nanoseconds.
    pub phases: Parts,
    /// Latencies by slot.
    pub slots: Vec<u64>,
}

/// Reads the map.
pub struct Reader {
    stats: PerCpuArray<MapData, SyncStats>,
    classes: u32,
}

impl Reader {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel, classes: u32) -> Result<Self, KernelError> {
        Ok(Self { stats: kernel.take("SYNC_STATS")?, classes })
    }

    /// Every series that has had a call.
    pub fn read(&self) -> Result<Vec<SyncSeries>, KernelError> {
        self.read_of(|_| true)
    }

    /// The same of some targets, by their indices.
    pub fn read_of(&self, wanted: impl Fn(usize) -> bool) -> Result<Vec<SyncSeries>, KernelError> {
        let mut out = Vec::new();
        for index in 0..self.stats.len() {
            let (target, class) = split_cell(index / SYNC_CELL, self.classes);
            if !wanted(target as usize) {
                continue;
            }
            let values = self.stats.get(&index, 0)?;
            let mut series = SyncSeries {
                target,
                class,
                op: index % SYNC_CELL,
                calls: 0,
                sum_ns: 0,
                max_ns: 0,
                phases: [0; _],
                slots: vec![0; SLOTS],
            };
            for value in values.iter() {
                series.calls += value.calls;
                series.sum_ns += value.sum_ns;
                series.max_ns = series.max_ns.max(value.max_ns);
                add_slots(&mut series.phases, &value.phases);
                add_slots(&mut series.slots, &value.slots);
            }
            if series.calls != 0 {
                out.push(series);
            }
        }
        Ok(out)
    }
}

const _: () = assert!(SYNC_CELL as usize == SYNC_OPS);
