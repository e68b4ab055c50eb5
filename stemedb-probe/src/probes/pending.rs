//! Writes that no sync has made durable yet. The kernel adds files and never takes one away, because another processor may be
//! about to add to it; files that have been idle for long are swept from here.

use aya::maps::{HashMap, MapData};
use stemedb_ebpf::{FileKey, MAX_PENDING, Pending};

use crate::kernel::{Kernel, KernelError};

/// A file without writes that wait is swept when it has been idle for this long.
const IDLE_NS: u64 = 10_000_000_000;

/// What a sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files that are left.
    pub entries: u64,
    /// Writes that will be missing from the group histograms.
    pub lost_writes: u64,
}

/// Owns the map.
pub struct Sweeper {
    pending: HashMap<MapData, FileKey, Pending>,
}

impl Sweeper {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self { pending: kernel.take("PENDING")? })
    }

    /// Takes out what is idle; when the map is more than half full, also the older half of what waits.
    pub fn sweep(&mut self, now_ns: u64) -> Swept {
        let mut entries: Vec<(FileKey, Pending)> = self.pending.iter().filter_map(Result::ok).collect();
        entries.sort_by_key(|(_, pending)| pending.used_ns);
        let mut out = Swept { entries: entries.len() as u64, lost_writes: 0 };
        for (key, pending) in entries {
            let idle = pending.writes == 0 && now_ns.saturating_sub(pending.used_ns) > IDLE_NS;
            let crowded = out.entries > u64::from(MAX_PENDING) / 2;
            if !(idle || crowded) {
                continue;
            }
            // The list was read some time ago: what has been used since stays.
            let Ok(now) = self.pending.get(&key, 0) else { continue };
            if now.used_ns == pending.used_ns && self.pending.remove(&key).is_ok() {
                out.entries -= 1;
                out.lost_writes += now.writes;
            }
        }
        out
    }
}

/// The monotonic clock, as the kernel side reads it (`bpf_ktime_get_ns`), in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
