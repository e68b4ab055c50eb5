//! Files that targets write.

use stemedb_ebpf::tables::Ids;

use super::table;
use crate::kernel::shared::Source;
use crate::kernel::{Kernel, KernelError};

/// Owns the table of files.
pub struct Reader {
    ids: Source<Ids>,
}

impl Reader {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self { ids: Source::new(kernel, "FILE_IDS")? })
    }

    /// How many are known now; one that has been idle makes room for another.
    pub fn count(&self) -> Result<u64, KernelError> {
        Ok(table::taken(&self.ids.map()?).count() as u64)
    }
}
