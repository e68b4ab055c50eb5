//! The operations that are counted: one table, from which both sides take names, families and by which way
//! a process asks for each.

/// What a call does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// It makes earlier writes durable, or starts to.
    Sync,
    /// It puts data (or space) into a file.
    Write,
}

/// By what a process asks for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A system call of its own.
    Syscall,
    /// A flag of the file or of the call makes a write durable: counted beside the write.
    Flag,
    /// An io_uring request with this opcode (`enum io_uring_op`, include/uapi/linux/io_uring.h).
    Uring(u8),
    /// A request of `io_submit(2)`.
    Aio,
}

/// One row of [`OPS`].
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// The value of the label `op`: the system call's name in the manual, or what stands for it.
    pub name: &'static str,
    /// Whether it counts as a sync or as a write.
    pub family: Family,
    /// By what it is asked for.
    pub way: Way,
}

macro_rules! ops {
    ($($(#[$doc:meta])* $id:ident = $value:literal, $name:literal, $family:ident, $way:expr;)+) => {
        /// An operation; its number is its place in [`OPS`] and in [`crate::Settings::op_of_syscall`].
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op { $($(#[$doc])* $id = $value),+ }

        /// Every operation, at the place of its number.
        pub const OPS: &[OpInfo] = &[$(OpInfo { name: $name, family: Family::$family, way: $way }),+];
    };
}

ops! {
    /// `fsync(2)`
    Fsync = 0, "fsync", Sync, Way::Syscall;
    /// `fdatasync(2)`
    Fdatasync = 1, "fdatasync", Sync, Way::Syscall;
    /// `sync_file_range(2)`: starts or awaits write-out, but flushes no cache and no metadata.
    SyncFileRange = 2, "sync_file_range", Sync, Way::Syscall;
    /// `msync(2)`
    Msync = 3, "msync", Sync, Way::Syscall;
    /// `syncfs(2)`
    Syncfs = 4, "syncfs", Sync, Way::Syscall;
    /// `sync(2)`
    Sync = 5, "sync", Sync, Way::Syscall;
    /// What a write to a file that is open with `O_SYNC`, or with `RWF_SYNC`, does beside writing.
    OSync = 6, "o_sync", Sync, Way::Flag;
    /// The same for `O_DSYNC` and `RWF_DSYNC`.
    ODsync = 7, "o_dsync", Sync, Way::Flag;
    /// `IORING_OP_FSYNC`
    UringFsync = 8, "io_uring_fsync", Sync, Way::Uring(3);
    /// `IORING_OP_FSYNC` with `IORING_FSYNC_DATASYNC`
    UringFdatasync = 9, "io_uring_fdatasync", Sync, Way::Uring(3);
    /// `IORING_OP_SYNC_FILE_RANGE`
    UringSyncFileRange = 10, "io_uring_sync_file_range", Sync, Way::Uring(8);
    /// `IOCB_CMD_FSYNC`
    AioFsync = 11, "aio_fsync", Sync, Way::Aio;
    /// `IOCB_CMD_FDSYNC`
    AioFdsync = 12, "aio_fdsync", Sync, Way::Aio;
    /// `write(2)`
    Write = 13, "write", Write, Way::Syscall;
    /// `pwrite(2)`
    Pwrite = 14, "pwrite64", Write, Way::Syscall;
    /// `writev(2)`
    Writev = 15, "writev", Write, Way::Syscall;
    /// `pwritev(2)`
    Pwritev = 16, "pwritev", Write, Way::Syscall;
    /// `pwritev2(2)`
    Pwritev2 = 17, "pwritev2", Write, Way::Syscall;
    /// `sendfile(2)` into a file
    Sendfile = 18, "sendfile", Write, Way::Syscall;
    /// `splice(2)` into a file
    Splice = 19, "splice", Write, Way::Syscall;
    /// `copy_file_range(2)`
    CopyFileRange = 20, "copy_file_range", Write, Way::Syscall;
    /// `fallocate(2)`: a call that writes no bytes.
    Fallocate = 21, "fallocate", Write, Way::Syscall;
    /// `IORING_OP_WRITE`
    UringWrite = 22, "io_uring_write", Write, Way::Uring(23);
    /// `IORING_OP_WRITEV`
    UringWritev = 23, "io_uring_writev", Write, Way::Uring(2);
    /// `IORING_OP_WRITE_FIXED`
    UringWriteFixed = 24, "io_uring_write_fixed", Write, Way::Uring(5);
    /// `IORING_OP_WRITEV_FIXED` (6.15)
    UringWritevFixed = 25, "io_uring_writev_fixed", Write, Way::Uring(61);
    /// `IORING_OP_FALLOCATE`
    UringFallocate = 26, "io_uring_fallocate", Write, Way::Uring(17);
    /// `IORING_OP_SPLICE` into a file
    UringSplice = 27, "io_uring_splice", Write, Way::Uring(30);
    /// `IOCB_CMD_PWRITE`
    AioPwrite = 28, "aio_pwrite", Write, Way::Aio;
    /// `IOCB_CMD_PWRITEV`
    AioPwritev = 29, "aio_pwritev", Write, Way::Aio;
}

/// Operations of the sync family come first; this is how many there are.
pub const SYNC_OPS: usize = count(Family::Sync);
/// Operations of the write family follow.
pub const WRITE_OPS: usize = OPS.len() - SYNC_OPS;
/// In [`crate::Settings::op_of_syscall`], without [`COMPAT`]: not a system call that is counted.
pub const NO_OP: u8 = 0x7f;
/// In [`crate::Settings::op_of_syscall`]: `io_submit`, whose requests are counted by themselves where they can be.
pub const AIO_SUBMIT: u8 = 0x7e;
/// In [`crate::Settings::op_of_syscall`]: `io_uring_enter`, likewise.
pub const URING_SUBMIT: u8 = 0x7d;
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
    fn an_opcode_stands_for_one_operation_or_for_both_kinds_of_fsync() {
        for (i, op) in OPS.iter().enumerate() {
            if let Way::Uring(code) = op.way {
                let same = OPS[..i].iter().filter(|other| other.way == Way::Uring(code)).count();
                assert_eq!(same, usize::from(op.name == "io_uring_fdatasync"), "{}", op.name);
                assert!((code as usize) < crate::MAX_URING_OPS);
            }
        }
    }

    #[test]
    fn sync_operations_come_first_and_names_differ() {
        for (i, op) in OPS.iter().enumerate() {
            assert_eq!(op.family == Family::Sync, i < SYNC_OPS, "{}", op.name);
            assert!(OPS[..i].iter().all(|other| other.name != op.name));
        }
    }
}
