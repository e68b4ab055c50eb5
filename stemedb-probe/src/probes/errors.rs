//! Failed calls, by errno.

use aya::maps::{HashMap, MapData};
use nix::errno::Errno;
use serde::Serialize;
use stemedb_ebpf::ErrorKey;

use super::split_cell;
use crate::kernel::{Kernel, KernelError};

/// Calls of one operation on one class that failed alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ErrorSeries {
    /// Index of the target.
    pub target: u32,
    /// Number of the class.
    pub class: u32,
    /// [`stemedb_ebpf::ops::Op`]
    pub op: u32,
    /// errno's name.
    pub error: String,
    /// How many.
    pub count: u64,
}

/// Reads the map.
pub struct Reader {
    errors: HashMap<MapData, ErrorKey, u64>,
    classes: u32,
}

impl Reader {
    /// Takes the map.
    pub fn new(kernel: &mut Kernel, classes: u32) -> Result<Self, KernelError> {
        Ok(Self { errors: kernel.take("ERRORS")?, classes })
    }

    /// Every series, in a fixed order.
    pub fn read(&self) -> Result<Vec<ErrorSeries>, KernelError> {
        let mut out = Vec::new();
        for entry in &self.errors {
            let (key, count) = entry?;
            let (target, class) = split_cell(key.cell, self.classes);
            out.push(ErrorSeries { target, class, op: u32::from(key.op), error: name(key.errno), count });
        }
        out.sort();
        Ok(out)
    }
}

/// The name of an errno; its number where it has none.
#[must_use]
pub fn name(errno: u16) -> String {
    match Errno::from_raw(i32::from(errno)) {
        Errno::UnknownErrno => format!("errno_{errno}"),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_the_manuals() {
        assert_eq!([5, 9, 22, 28, 30].map(super::name), ["EIO", "EBADF", "EINVAL", "ENOSPC", "EROFS"]);
        assert_eq!(super::name(4000), "errno_4000");
    }
}
