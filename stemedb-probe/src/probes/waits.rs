//! On which file systems sync calls are in flight. The kernel side counts them up and down; where an end was not seen, nothing would
//! ever count it down, and a journal's I/O would be charged to who does not wait.

use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use stemedb_ebpf::disk::{Waits, wait_word};
use stemedb_ebpf::{Inflight, MAX_TARGETS};

use crate::kernel::shared::{Mapping, Source};
use crate::kernel::{Kernel, KernelError};

/// A call that has been in flight for so long has ended unseen, or is of no use to tell whose I/O is whose.
const LONG_NS: u64 = 120_000_000_000;

/// [`Waits::dev`] and the index of a target.
type Wait = (u64, usize);

/// Takes away counts that no call stands behind.
pub struct Sweeper {
    waits: Source<Waits>,
    /// Those that were so the last time: a call may have begun or ended in between.
    suspects: HashSet<Wait>,
}

impl Sweeper {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self { waits: Source::new(kernel, "WAITS")?, suspects: HashSet::new() })
    }

    /// Looks at all counts, given the calls in flight.
    pub fn sweep(&mut self, calls: &[Inflight], now_ns: u64) -> Result<(), KernelError> {
        let waits = self.waits.map()?;
        let young = |call: &Inflight| now_ns.saturating_sub(call.start_ns) < LONG_NS;
        let waiting = calls.iter().filter(|call| call.waits != 0 && young(call));
        let backed: HashSet<Wait> = waiting.map(|call| (wait_word(call.dev), call.target as usize)).collect();
        let mut without = HashSet::new();
        for place in 0..waits.len() {
            // Most are of no file system, and are long.
            let is_taken = |at: NonNull<Waits>| {
                // SAFETY: in bounds; a number that is read at once.
                unsafe { (&raw const (*at.as_ptr()).dev).read_volatile() != 0 }
            };
            let Some(here) = waits.at(place).filter(|at| is_taken(*at)).and_then(|_| waits.read(place)) else {
                continue;
            };
            for target in (0..MAX_TARGETS).filter(|target| here.counts[*target] != 0) {
                let wait = (here.dev, target);
                if backed.contains(&wait) {
                    continue;
                }
                if self.suspects.contains(&wait) {
                    forget(&waits, place, target, here.counts[target]);
                }
                without.insert(wait);
            }
        }
        self.suspects = without;
        Ok(())
    }
}

/// Sets a count to zero, unless it has changed.
fn forget(waits: &Mapping<Waits>, place: usize, target: usize, count: u64) {
    let Some(waits) = waits.at(place) else { return };
    // SAFETY: in bounds and aligned, and others change it by atomic instructions, too.
    let number = unsafe { AtomicU64::from_ptr(&raw mut (*waits.as_ptr()).counts[target]) };
    let _ = number.compare_exchange(count, 0, Ordering::Relaxed, Ordering::Relaxed);
}
