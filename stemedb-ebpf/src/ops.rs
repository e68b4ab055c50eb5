//! The operations that are counted: one table, from which both sides take names, families and where the
//! file is among a system call's arguments.

/// What a call does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// It makes earlier writes durable, or starts to.
    Sync,
    /// It puts data (or space) into a file.
    Write,
}

/// How a system call names its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileArg {
    /// Argument `n` is a file descriptor.
    Fd(u8),
    /// Argument 0 is an address in a mapping of the file (`msync`).
    Address,
    /// It is about no one file (`sync`).
    None,
}

/// One row of [`OPS`].
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// The value of the label `op`: the system call's name in the manual.
    pub name: &'static str,
    /// Whether it counts as a sync or as a write.
    pub family: Family,
    /// Where the file is.
    pub file: FileArg,
}

macro_rules! ops {
    ($($(#[$doc:meta])* $id:ident = $value:literal, $name:literal, $family:ident, $file:expr;)+) => {
        /// An operation; its number is its place in [`OPS`] and in [`crate::Settings::op_of_syscall`].
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op { $($(#[$doc])* $id = $value),+ }

        /// Every operation, at the place of its number.
        pub const OPS: &[OpInfo] = &[$(OpInfo { name: $name, family: Family::$family, file: $file }),+];
    };
}

ops! {
    /// `fsync(2)`
    Fsync = 0, "fsync", Sync, FileArg::Fd(0);
    /// `fdatasync(2)`
    Fdatasync = 1, "fdatasync", Sync, FileArg::Fd(0);
    /// `sync_file_range(2)`: starts or awaits write-out, but flushes no cache and no metadata.
    SyncFileRange = 2, "sync_file_range", Sync, FileArg::Fd(0);
    /// `msync(2)`
    Msync = 3, "msync", Sync, FileArg::Address;
    /// `syncfs(2)`
    Syncfs = 4, "syncfs", Sync, FileArg::Fd(0);
    /// `sync(2)`
    Sync = 5, "sync", Sync, FileArg::None;
    /// `write(2)`
    Write = 6, "write", Write, FileArg::Fd(0);
    /// `pwrite(2)`
    Pwrite = 7, "pwrite64", Write, FileArg::Fd(0);
    /// `writev(2)`
    Writev = 8, "writev", Write, FileArg::Fd(0);
    /// `pwritev(2)`
    Pwritev = 9, "pwritev", Write, FileArg::Fd(0);
    /// `pwritev2(2)`
    Pwritev2 = 10, "pwritev2", Write, FileArg::Fd(0);
    /// `sendfile(2)` into a file
    Sendfile = 11, "sendfile", Write, FileArg::Fd(0);
    /// `splice(2)` into a file
    Splice = 12, "splice", Write, FileArg::Fd(2);
    /// `copy_file_range(2)`
    CopyFileRange = 13, "copy_file_range", Write, FileArg::Fd(2);
    /// `fallocate(2)`: a call that writes no bytes.
    Fallocate = 14, "fallocate", Write, FileArg::Fd(0);
}

/// Operations of the sync family come first; this is how many there are.
pub const SYNC_OPS: usize = count(Family::Sync);
/// Operations of the write family follow.
pub const WRITE_OPS: usize = OPS.len() - SYNC_OPS;
/// In [`crate::Settings::op_of_syscall`], without [`COMPAT`]: not a system call that is counted.
pub const NO_OP: u8 = 0x7f;
/// In [`crate::Settings::op_of_syscall`]: it submits reads and writes that are not seen (io_uring, libaio).
pub const ASYNC_OP: u8 = 0x7e;
/// In [`crate::Settings::op_of_syscall`]: for a 32-bit program this number is a call that would be counted.
pub const COMPAT: u8 = 0x80;

const fn count(family: Family) -> usize {
    let mut n = 0;
    let mut i = 0;
    while i < OPS.len() {
        if OPS[i].family as u8 == family as u8 {
            n += 1;
        }
        i += 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_operations_come_first_and_names_differ() {
        for (i, op) in OPS.iter().enumerate() {
            assert_eq!(op.family == Family::Sync, i < SYNC_OPS, "{}", op.name);
            assert!(OPS[..i].iter().all(|other| other.name != op.name));
        }
    }
}
