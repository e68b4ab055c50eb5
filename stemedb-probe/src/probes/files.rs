//! Files that targets write.

use stemedb_ebpf::tables::Ids;

use super::table;
use crate::kernel::shared::Shared;
use crate::kernel::{Kernel, KernelError};

/// Owns the table of files.
pub struct Reader {
    ids: Shared<Ids>,
}

impl Reader {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self { ids: Shared::new(kernel, "FILE_IDS")? })
    }

    /// How many are known now; one that has been idle makes room for another.
    pub fn count(&self) -> u64 {
        table::taken(&self.ids).count() as u64
    }
}
