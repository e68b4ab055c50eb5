//! The system calls that are counted: their numbers, and the kernel's functions for them.

use stemedb_ebpf::offsets::Need;
use stemedb_ebpf::ops::{AIO_SUBMIT, COMPAT, Family, NO_OP, OPS, OpInfo, URING_SUBMIT, Way};
use stemedb_ebpf::{MAX_SYSCALLS, MAX_URING_OPS};

/// An architecture, as far as the kernel's names of system calls and their arguments depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64
    X86_64,
    /// arm64
    Aarch64,
}

impl Arch {
    /// The one that the agent runs on.
    pub const HOST: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// The fields by which it gives system-call arguments.
    #[must_use]
    pub fn need(self) -> Need {
        match self {
            Self::X86_64 => Need::X86,
            Self::Aarch64 => Need::Arm64,
        }
    }

    /// The same calls in a 32-bit program.
    fn compat_calls(self) -> &'static [Compat] {
        match self {
            Self::X86_64 => X86_COMPAT_CALLS,
            Self::Aarch64 => ARM_COMPAT_CALLS,
        }
    }
}

/// What each number means on this architecture: an operation, or one of the marks beside [`NO_OP`].
#[must_use]
pub fn by_number() -> [u8; MAX_SYSCALLS] {
    let mut out = [NO_OP; MAX_SYSCALLS];
    let mut set = |number: libc::c_long, meaning: u8| {
        if let Some(slot) = usize::try_from(number).ok().and_then(|number| out.get_mut(number)) {
            *slot = meaning;
        }
    };
    for (index, op) in (0_u8..).zip(OPS) {
        if let Some((_, number)) = NUMBERS.iter().find(|(name, _)| op.way == Way::Syscall && *name == op.name) {
            set(*number, index);
        }
    }
    set(libc::SYS_io_submit, AIO_SUBMIT);
    set(libc::SYS_io_uring_enter, URING_SUBMIT);
    for (number, _) in Arch::HOST.compat_calls() {
        out[*number] |= COMPAT;
    }
    out
}

/// What each io_uring opcode means; of the two kinds of fsync the first.
#[must_use]
pub fn by_uring_opcode() -> [u8; MAX_URING_OPS] {
    let mut out = [NO_OP; MAX_URING_OPS];
    for (index, op) in (0_u8..).zip(OPS) {
        if let Way::Uring(opcode) = op.way
            && let Some(slot) = out.get_mut(usize::from(opcode))
            && *slot == NO_OP
        {
            *slot = index;
        }
    }
    out
}

/// The functions behind the system calls of a family.
#[must_use]
pub fn functions(arch: Arch, family: Family) -> Vec<String> {
    of_family(family).map(|op| function(arch, op.name)).collect()
}

/// The function behind the system call of that name.
#[must_use]
pub fn function(arch: Arch, name: &str) -> String {
    // The table has the 64-bit one under the old name.
    let name = if name == "sendfile" { "sendfile64" } else { name };
    match (arch, name) {
        // A call without arguments is an alias of its body, and only the body is in the type information.
        (Arch::X86_64, "sync") => "__do_sys_sync".to_owned(),
        (Arch::X86_64, name) => format!("__x64_sys_{name}"),
        (Arch::Aarch64, name) => format!("__arm64_sys_{name}"),
    }
}

/// The functions of the 32-bit variants of the calls of a family.
#[must_use]
pub fn compat_functions(arch: Arch, family: Family) -> Vec<&'static str> {
    let of_family = |name: &str| of_family(family).any(|op| op.name == name);
    let calls = arch.compat_calls().iter().filter(|(_, (name, _))| of_family(name));
    calls.map(|(_, (_, function))| *function).filter(|function| *function != SHARED).collect()
}

fn of_family(family: Family) -> impl Iterator<Item = &'static OpInfo> {
    OPS.iter().filter(move |op| op.family == family && op.way == Way::Syscall)
}

/// The numbers of the system calls on this architecture, by the names in [`OPS`].
const NUMBERS: &[(&str, libc::c_long)] = &[
    ("fsync", libc::SYS_fsync),
    ("fdatasync", libc::SYS_fdatasync),
    ("sync_file_range", libc::SYS_sync_file_range),
    ("msync", libc::SYS_msync),
    ("syncfs", libc::SYS_syncfs),
    ("sync", libc::SYS_sync),
    ("write", libc::SYS_write),
    ("pwrite64", libc::SYS_pwrite64),
    ("writev", libc::SYS_writev),
    ("pwritev", libc::SYS_pwritev),
    ("pwritev2", libc::SYS_pwritev2),
    ("sendfile", libc::SYS_sendfile),
    ("splice", libc::SYS_splice),
    ("copy_file_range", libc::SYS_copy_file_range),
    ("fallocate", libc::SYS_fallocate),
];

/// A call of a 32-bit program: its number, its name in [`OPS`], and its function. It is not followed, but counted as lost.
type Compat = (usize, (&'static str, &'static str));
/// The function is that of the 64-bit call, whose program knows the one from the other.
const SHARED: &str = "";

/// arch/x86/entry/syscalls/syscall_32.tbl
const X86_COMPAT_CALLS: &[Compat] = &[
    (4, ("write", "__ia32_sys_write")),
    (36, ("sync", SHARED)),
    (118, ("fsync", "__ia32_sys_fsync")),
    (144, ("msync", "__ia32_sys_msync")),
    (146, ("writev", "__ia32_sys_writev")),
    (148, ("fdatasync", "__ia32_sys_fdatasync")),
    (181, ("pwrite64", "__ia32_sys_ia32_pwrite64")),
    (187, ("sendfile", "__ia32_compat_sys_sendfile")),
    (239, ("sendfile", "__ia32_sys_sendfile64")),
    (313, ("splice", "__ia32_sys_splice")),
    (314, ("sync_file_range", "__ia32_sys_ia32_sync_file_range")),
    (324, ("fallocate", "__ia32_sys_ia32_fallocate")),
    (334, ("pwritev", "__ia32_compat_sys_pwritev")),
    (344, ("syncfs", "__ia32_sys_syncfs")),
    (377, ("copy_file_range", "__ia32_sys_copy_file_range")),
    (379, ("pwritev2", "__ia32_compat_sys_pwritev2")),
];

/// arch/arm64/include/asm/unistd32.h
const ARM_COMPAT_CALLS: &[Compat] = &[
    (4, ("write", SHARED)),
    (36, ("sync", SHARED)),
    (118, ("fsync", SHARED)),
    (144, ("msync", SHARED)),
    (146, ("writev", SHARED)),
    (148, ("fdatasync", SHARED)),
    (181, ("pwrite64", "__arm64_compat_sys_aarch32_pwrite64")),
    (187, ("sendfile", "__arm64_compat_sys_sendfile")),
    (239, ("sendfile", "__arm64_compat_sys_sendfile64")),
    (340, ("splice", SHARED)),
    (341, ("sync_file_range", "__arm64_compat_sys_aarch32_sync_file_range2")),
    (352, ("fallocate", "__arm64_compat_sys_aarch32_fallocate")),
    (362, ("pwritev", "__arm64_compat_sys_pwritev")),
    (373, ("syncfs", SHARED)),
    (391, ("copy_file_range", SHARED)),
    (393, ("pwritev2", "__arm64_compat_sys_pwritev2")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_by_system_call_has_its_number() {
        let named: Vec<&str> = OPS.iter().filter(|op| op.way == Way::Syscall).map(|op| op.name).collect();
        assert_eq!(named, NUMBERS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert!(NUMBERS.iter().all(|(_, number)| usize::try_from(*number).unwrap() < MAX_SYSCALLS));
        for calls in [X86_COMPAT_CALLS, ARM_COMPAT_CALLS] {
            assert!(named.iter().all(|name| calls.iter().any(|(_, (call, _))| call == name)));
            assert!(calls.iter().all(|(number, (name, _))| named.contains(name) && *number < MAX_SYSCALLS));
        }
    }

    #[test]
    fn numbers_and_opcodes_lead_to_their_operations() {
        let meaning = by_number()[usize::try_from(libc::SYS_fdatasync).unwrap()] & !COMPAT;
        assert_eq!(OPS[usize::from(meaning)].name, "fdatasync");
        assert_eq!(OPS[usize::from(by_uring_opcode()[3])].name, "io_uring_fsync");
        assert_eq!(by_uring_opcode()[0], NO_OP);
    }
}
