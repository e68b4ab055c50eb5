//! Processes that came and went.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::maps::{MapData, RingBuf};
use stemedb_ebpf::Event;

use crate::kernel::{Kernel, KernelError};

/// Owns the ring.
pub struct Reader {
    ring: RingBuf<MapData>,
}

impl Reader {
    /// Takes the ring.
    pub fn new(kernel: &mut Kernel) -> Result<Self, KernelError> {
        Ok(Self { ring: kernel.take("EVENTS")? })
    }

    /// Takes out the next event, if there is one.
    pub fn take_next(&mut self) -> Option<Event> {
        let item = self.ring.next()?;
        let words: [u32; 4] = bytemuck::pod_read_unaligned(item.get(..size_of::<Event>())?);
        let [kind, tgid, target, zero] = words;
        Some(Event { kind, tgid, target, zero })
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for Reader {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
