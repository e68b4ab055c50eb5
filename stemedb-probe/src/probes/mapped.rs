//! Pages that stores through shared mappings made dirty.

use aya::maps::{MapData, PerCpuArray};
use serde::Serialize;
use stemedb_ebpf::MappedStats;

use super::split_cell;
use crate::kernel::{Kernel, KernelError};

/// Dirty pages of one class, over all processors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MappedSeries {
    /// Index of the target.
    pub target: u32,
    /// Number of the class.
    pub class: u32,
    /// Folios that were clean and became dirty.
    pub folios: u64,
    /// Their sizes in bytes.
    pub bytes: u64,
}

/// Reads the map.
pub struct Reader {
    stats: PerCpuArray<MapData, MappedStats>,
    classes: u32,
}

impl Reader {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel, classes: u32) -> Result<Self, KernelError> {
        Ok(Self { stats: kernel.take("MAPPED_STATS")?, classes })
    }

    /// Every series that has had a folio.
    pub fn read(&self) -> Result<Vec<MappedSeries>, KernelError> {
        let mut out = Vec::new();
        for cell in 0..self.stats.len() {
            let (target, class) = split_cell(cell, self.classes);
            let mut series = MappedSeries { target, class, folios: 0, bytes: 0 };
            for value in self.stats.get(&cell, 0)?.iter() {
                series.folios += value.folios;
                series.bytes += value.bytes;
            }
            if series.folios != 0 {
                out.push(series);
            }
        }
        Ok(out)
    }
}
