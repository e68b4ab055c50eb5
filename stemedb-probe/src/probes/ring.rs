//! A ring by which the kernel side tells of things one by one. The runtime can wait for it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::maps::ring_buf::RingBufItem;
use aya::maps::{MapData, RingBuf};

use crate::kernel::{Kernel, KernelError};

/// Owns the ring.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    /// Takes the ring out of the object.
    pub fn new(kernel: &mut Kernel, name: &'static str) -> Result<Self, KernelError> {
        Ok(Self(kernel.take(name)?))
    }

    /// Takes out what is next, if there is something.
    pub fn take_next(&mut self) -> Option<RingBufItem<'_>> {
        self.0.next()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
