//! Slow calls, as the kernel side tells them one by one.

use aya::maps::{Array, MapData};
use stemedb_ebpf::phases::SlowCall;

use super::ring::Ring;
use crate::kernel::{Kernel, KernelError};

/// A slow call and the path of its file, as the kernel has it.
#[derive(Debug, Clone)]
pub struct Told {
    /// The call.
    pub call: SlowCall,
    /// The path, without the root's `/` where it is the root itself.
    pub path: Vec<u8>,
}

/// The ring.
pub const RING: &str = "SLOW";

/// Takes out the next call, if there is one.
pub fn take_next(ring: &mut Ring) -> Option<Told> {
    let item = ring.take_next()?;
    let (head, rest) = item.split_at_checked(size_of::<SlowCall>())?;
    // SAFETY: the type is made of integers, for which all bytes are values, and there are as many.
    let call: SlowCall = unsafe { head.as_ptr().cast::<SlowCall>().read_unaligned() };
    let path = rest.get(..call.path_len as usize)?.to_vec();
    Some(Told { call, path })
}

/// From how many nanoseconds on calls are told.
pub struct Threshold {
    map: Array<MapData, u64>,
    ns: u64,
}

impl Threshold {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel, ns: u64) -> Result<Self, KernelError> {
        let mut out = Self { map: kernel.take("SLOW_NS")?, ns: u64::MAX };
        out.set(ns)?;
        Ok(out)
    }

    /// Changes it.
    pub fn set(&mut self, ns: u64) -> Result<(), KernelError> {
        if ns != self.ns {
            self.map.set(0, ns, 0)?;
            self.ns = ns;
        }
        Ok(())
    }

    /// What it is.
    #[must_use]
    pub fn ns(&self) -> u64 {
        self.ns
    }
}
