//! What is missing from the figures.

use aya::maps::{MapData, PerCpuArray};
use stemedb_ebpf::{LOST, Lost};

use crate::kernel::{Kernel, KernelError};

/// Reads the map, and adds what only the agent knows.
pub struct Reader {
    counts: PerCpuArray<MapData, u64>,
    own: [u64; LOST.len()],
    ignored: [bool; LOST.len()],
}

impl Reader {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self { counts: kernel.take("LOST_COUNTS")?, own: [0; LOST.len()], ignored: [false; LOST.len()] })
    }

    /// Counts a loss on the agent's side.
    pub fn add(&mut self, reason: Lost, n: u64) {
        self.own[reason as usize] += n;
    }

    /// Sets a loss that something else counts.
    pub fn set(&mut self, reason: Lost, n: u64) {
        self.own[reason as usize] = n;
    }

    /// Does not count a reason that the kernel side counts: nothing is lost by it.
    pub fn ignore(&mut self, reason: Lost) {
        self.ignored[reason as usize] = true;
    }

    /// The count of every reason, in the order of [`LOST`].
    pub fn read(&self) -> Result<Vec<u64>, KernelError> {
        let mut out = self.own.to_vec();
        let counted = (0..).zip(&mut out).zip(&self.ignored).filter(|(_, ignored)| !**ignored);
        for ((index, sum), _) in counted {
            *sum += self.counts.get(&index, 0)?.iter().sum::<u64>();
        }
        Ok(out)
    }
}
