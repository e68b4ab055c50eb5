//! Calls and requests that have begun and not ended.

use stemedb_ebpf::Inflight;
use stemedb_ebpf::tables::{Ids, WAYS};

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
        let buckets = (0..self.ids.len()).filter_map(|bucket| Some((bucket, self.ids.read(bucket)?)));
        let taken = buckets.flat_map(|(bucket, ids)| {
            let places = ids.into_iter().enumerate().filter(|(_, id)| *id != 0);
            places.map(move |(way, _)| bucket * WAYS as usize + way)
        });
        taken.filter_map(|place| self.calls.read(place))
    }
}
