//! Memory of a map that the kernel side changes at the same time: arrays with `BPF_F_MMAPABLE`. A change by a system call replaces a
//! whole value, and what the kernel side has put there meanwhile would be lost.

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use aya::Pod;
use aya::maps::{Array, Map, MapData};

use super::object::{Kernel, KernelError};

/// An array map that is looked at from time to time. Its values are in this process's memory only meanwhile.
pub struct Source<T> {
    map: MapData,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Pod> Source<T> {
    /// Takes a map, for its one owner.
    pub fn new(kernel: &mut Kernel, name: &'static str) -> Result<Self, KernelError> {
        const { assert!(size_of::<T>().is_multiple_of(8), "values lie one behind the other") }
        let map = kernel.ebpf.take_map(name).ok_or(KernelError::Map(name))?;
        // That it is an array of such values is looked at by whoever reads it value by value.
        let len = Array::<&MapData, T>::try_from(&map)?.len() as usize;
        let Map::Array(map) = map else { return Err(KernelError::Map(name)) };
        Ok(Self { map, len, values: PhantomData })
    }

    /// Puts its values into this process's memory.
    pub fn map(&self) -> Result<Mapping<T>, KernelError> {
        // SAFETY: a new mapping of a length that is not zero, anywhere.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                self.len * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                self.map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        let error = || KernelError::Io("cannot map the memory of an eBPF map".to_owned(), io::Error::last_os_error());
        let start = if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) };
        Ok(Mapping { start: start.ok_or_else(error)?, len: self.len })
    }
}

/// The values of an array map, in this process's memory for as long as the agent runs.
pub struct Shared<T> {
    mapping: Mapping<T>,
    /// Its owner here.
    _map: Source<T>,
}

impl<T: Pod> Shared<T> {
    /// Takes a map, for its one owner.
    pub fn new(kernel: &mut Kernel, name: &'static str) -> Result<Self, KernelError> {
        let map = Source::new(kernel, name)?;
        Ok(Self { mapping: map.map()?, _map: map })
    }
}

impl<T> Deref for Shared<T> {
    type Target = Mapping<T>;

    fn deref(&self) -> &Mapping<T> {
        &self.mapping
    }
}

/// The values of an array map, in this process's memory.
pub struct Mapping<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: the memory is the map's, and goes with this.
unsafe impl<T: Send> Send for Mapping<T> {}

impl<T: Pod> Mapping<T> {
    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A value's place in memory, which the kernel side may change at any time.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<NonNull<T>> {
        // SAFETY: in bounds.
        (index < self.len).then(|| unsafe { self.start.add(index) })
    }

    /// A value as it is now; one that is being changed may be of two times.
    #[must_use]
    pub fn read(&self, index: usize) -> Option<T> {
        // SAFETY: in bounds, and any bytes are a value.
        self.at(index).map(|place| unsafe { place.read_volatile() })
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: what `map` has mapped; nothing that was handed out lives longer than this.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.len * size_of::<T>());
        }
    }
}
