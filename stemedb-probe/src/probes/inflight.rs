//! Calls and requests that have begun and not ended.

use stemedb_ebpf::Inflight;
use stemedb_ebpf::tables::Ids;

use super::table;
use crate::kernel::shared::Shared;
use crate::kernel::{Kernel, KernelError};

/// Owns the table.
pub struct Reader {
    ids: Shared<Ids>,
    calls: Shared<Inflight>,
}

impl Reader {
    /// Takes the maps.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self { ids: Shared::new(kernel, "INFLIGHT_IDS")?, calls: Shared::new(kernel, "INFLIGHT")? })
    }

    /// Those that are there now.
    pub fn calls(&self) -> impl Iterator<Item = Inflight> {
        table::taken(&self.ids).filter_map(|(place, _)| self.calls.read(place as usize))
    }
}
