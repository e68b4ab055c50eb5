//! Calls and requests that have begun and not ended.

use stemedb_ebpf::Inflight;
use stemedb_ebpf::tables::Ids;

use super::table;
use crate::kernel::shared::Source;
use crate::kernel::{Kernel, KernelError};

/// Owns the table.
pub struct Reader {
    ids: Source<Ids>,
    calls: Source<Inflight>,
}

impl Reader {
    /// Takes the maps.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self { ids: Source::new(kernel, "INFLIGHT_IDS")?, calls: Source::new(kernel, "INFLIGHT")? })
    }

    /// How many are there now.
    pub fn count(&self) -> Result<usize, KernelError> {
        Ok(table::taken(&self.ids.map()?).count())
    }

    /// Those that are there now.
    pub fn calls(&self) -> Result<Vec<Inflight>, KernelError> {
        let ids = self.ids.map()?;
        let taken: Vec<_> = table::taken(&ids).collect();
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let calls = self.calls.map()?;
        Ok(taken.into_iter().filter_map(|(place, _)| calls.read(place as usize)).collect())
    }
}
