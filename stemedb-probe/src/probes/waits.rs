//! On which file systems sync calls are in flight. The kernel side counts them up and down; where an end was not seen, nothing would
//! ever count it down, and a journal's I/O would be charged to who does not wait.

use std::collections::HashSet;

use aya::maps::{HashMap, MapData};
use stemedb_ebpf::disk::WaitKey;
use stemedb_ebpf::{Inflight, WAITS};

use crate::kernel::{Kernel, KernelError};

/// A call that has been in flight for so long has ended unseen, or is of no use to tell whose I/O is whose.
const LONG_NS: u64 = 120_000_000_000;

/// Takes away counts that no call stands behind.
pub struct Sweeper {
    waits: HashMap<MapData, WaitKey, u64>,
    /// Those that were so the last time: a call may have begun or ended in between.
    suspects: HashSet<WaitKey>,
}

impl Sweeper {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self { waits: kernel.take("WAITS")?, suspects: HashSet::new() })
    }

    /// Looks at all counts, given the calls in flight.
    pub fn sweep(&mut self, calls: impl Iterator<Item = Inflight>, now_ns: u64) {
        let young = |call: &Inflight| now_ns.saturating_sub(call.start_ns) < LONG_NS;
        let waiting = calls.filter(|call| call.flags & WAITS != 0 && young(call));
        let backed: HashSet<WaitKey> =
            waiting.map(|call| WaitKey { dev: call.dev, target: call.file.target }).collect();
        let counted = self.waits.iter().flatten().filter(|(_, count)| *count != 0).map(|(key, _)| key);
        let without: HashSet<WaitKey> = counted.filter(|key| !backed.contains(key)).collect();
        for key in without.intersection(&self.suspects) {
            let _ = self.waits.remove(key);
        }
        self.suspects = without;
    }
}
