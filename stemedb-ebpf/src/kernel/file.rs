//! From a file descriptor to an open file.

use stemedb_ebpf::Lost;
use stemedb_ebpf::ops::SYNC_OPS;

use super::maps::{lost, offset};
use super::read::{self, Addr};

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFDIR: u32 = 0o040_000;

/// An open file, as far as the probes need it.
#[derive(Clone, Copy)]
pub struct File {
    /// Address of the `struct file`
    pub at: Addr,
    /// `struct inode`
    pub inode: Addr,
    /// `struct dentry`
    pub dentry: Addr,
    /// `i_mode`
    pub mode: u32,
}

impl File {
    /// What stands for a call without a file: the verifier refuses an `Option` whose payload is passed on unset.
    pub const NONE: Self = Self { at: 0, inode: 0, dentry: 0, mode: 0 };

    /// Whether there is one.
    #[inline(always)]
    pub fn is_there(&self) -> bool {
        self.inode != 0
    }

    /// Reads what is behind a `struct file`.
    #[inline(always)]
    pub fn at(file: Addr) -> Option<Self> {
        let inode: Addr = read::at(file, offset!(file_inode))?;
        let mode = u32::from(read::at::<u16>(inode, offset!(inode_mode))?);
        let dentry = read::at(file, offset!(file_dentry))?;
        Some(Self { at: file, inode, dentry, mode })
    }

    /// A regular file by its inode, when no open file is at hand; `None` for anything else. Where it has several names,
    /// one of them; where it has none, the dentry is 0.
    #[inline(always)]
    pub fn of_inode(inode: Addr) -> Option<Self> {
        let mode = u32::from(read::at::<u16>(inode, offset!(inode_mode))?);
        let alias: Addr = read::at(inode, offset!(inode_dentries))?;
        let dentry = if alias == 0 { 0 } else { alias - offset!(dentry_alias) as u64 };
        (mode & S_IFMT == S_IFREG).then_some(Self { at: 0, inode, dentry, mode })
    }

    /// Whether it is on a file system or a block device, and not a socket, a pipe or a terminal.
    #[inline(always)]
    pub fn is_storage(&self) -> bool {
        matches!(self.mode & S_IFMT, S_IFREG | S_IFBLK | S_IFDIR)
    }

    /// Whether it is a directory.
    #[inline(always)]
    pub fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// `f_flags`
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        read::at(self.at, offset!(file_flags)).unwrap_or(0)
    }
}

/// What a file descriptor of the current thread leads to.
pub enum Descriptor {
    /// A file.
    Open(File),
    /// Nothing: the call will fail with EBADF.
    Closed,
    /// The kernel's structures could not be read.
    Unreadable,
}

/// Looks up a file descriptor of the current thread, whose structure this is: `current->files->fdt->fd[fd]`.
#[inline(always)]
pub fn descriptor(task: *const u8, fd: u32) -> Descriptor {
    // SAFETY: the current task is a typed pointer, and so is what is loaded from it.
    let (max, table) = unsafe {
        let files: *const u8 = read::typed(task, offset!(task_files));
        if files.is_null() {
            return Descriptor::Closed;
        }
        let fdt: *const u8 = read::typed(files, offset!(files_fdt));
        if fdt.is_null() {
            return Descriptor::Unreadable;
        }
        (read::typed::<u32>(fdt, offset!(fdt_max)), read::typed::<u64>(fdt, offset!(fdt_fd)))
    };
    if fd >= max {
        return Descriptor::Closed;
    }
    behind(read::at::<Addr>(table, fd as usize * 8))
}

/// A write to a socket or a pipe.
pub struct NotStorage;

/// The file of an operation as it is counted, where there is one: a sync of a socket is a mistake worth counting, without a
/// file.
#[inline(always)]
pub fn of_interest(found: Descriptor, op: u8) -> Result<File, NotStorage> {
    match found {
        Descriptor::Open(file) if file.is_storage() => Ok(file),
        Descriptor::Open(_) if (op as usize) < SYNC_OPS => Ok(File::NONE),
        Descriptor::Open(_) => Err(NotStorage),
        Descriptor::Closed => Ok(File::NONE),
        Descriptor::Unreadable => {
            lost(Lost::KernelRead);
            Ok(File::NONE)
        }
    }
}

/// The file whose address a table holds.
#[inline(always)]
pub fn behind(address: Option<Addr>) -> Descriptor {
    match address {
        Some(0) => Descriptor::Closed,
        Some(file) => File::at(file).map_or(Descriptor::Unreadable, Descriptor::Open),
        None => Descriptor::Unreadable,
    }
}
