//! What is in the maps. Every type is `repr(C)` and without padding; the assertions hold the sizes.

use crate::files::Pending;
use crate::glob::Automaton;
use crate::ops::{SYNC_OPS, WRITE_OPS};
use crate::phases::PHASES;
use crate::slots::{SIZE_SLOTS, SLOTS};
use crate::tables::{PROCESS_BUCKETS, PROCESS_WAYS, WAYS};

/// The class of files that match no directory and no name rule.
pub const CLASS_OTHER: u32 = 0;
/// Directories that are followed upwards from a file before it counts as [`CLASS_OTHER`]; a file that
/// is deeper is counted in [`crate::Lost::ClassDepth`] as well.
pub const MAX_DEPTH: usize = 16;
/// Rules for processes (all targets together).
pub const MAX_PROCESS_RULES: usize = 256;
/// Rules for file names (all targets together).
pub const MAX_CLASS_RULES: usize = 128;
/// System-call numbers that [`Settings::op_of_syscall`] covers.
pub const MAX_SYSCALLS: usize = 512;
/// io_uring opcodes that [`Settings::op_of_uring`] covers.
pub const MAX_URING_OPS: usize = 64;
/// Classes of all targets together, `other` included.
pub const MAX_CLASSES: usize = 1 << 12;
/// Targets that a configuration may have.
pub const MAX_TARGETS: usize = 128;

/// Processes that can be watched at once.
pub const MAX_PROCESSES: u32 = PROCESS_BUCKETS * PROCESS_WAYS;
/// Calls and requests that can be in flight at once.
pub const MAX_INFLIGHT: u32 = 16_384;
/// Buckets of their table.
pub const INFLIGHT_BUCKETS: u32 = MAX_INFLIGHT / WAYS;
/// Fsyncs of libaio that kernel threads work on at once.
pub const MAX_AIO_SYNCS: u32 = 1_024;
/// Class directories, and those on the way to one, of all targets together.
pub const MAX_DIRS: u32 = 4_096;
/// Cgroups whose processes are watched.
pub const MAX_CGROUPS: u32 = 4_096;
/// Kinds of failed calls that are told apart.
pub const MAX_ERRORS: u32 = 1_024;

/// What the agent decides before load; a frozen `.rodata` global.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Settings {
    /// For each system-call number of this architecture, the [`crate::ops::Op`], or
    /// [`crate::ops::NO_OP`].
    pub op_of_syscall: [u8; MAX_SYSCALLS],
    /// For each io_uring opcode, the [`crate::ops::Op`], or [`crate::ops::NO_OP`].
    pub op_of_uring: [u8; MAX_URING_OPS],
    /// Number of classes, `other` included; a cell is `target * classes + class`.
    pub classes: u32,
    /// Rows in use in the map `PROCESS_RULES`.
    pub process_rules: u32,
    /// Rows in use in the map `CLASS_RULES`.
    pub class_rules: u32,
    /// Not zero when a process rule needs the path of the executable.
    pub exe_paths: u32,
    /// Not zero when the kernel has `bpf_find_vma` (5.17), by which an `msync` finds its file.
    pub find_vma: u32,
    /// Not zero when the verifier knows the types of pointers (`tp_btf`, `fentry`): they are followed by plain
    /// loads then, else by a helper (`raw_tp`, on kernels without BTF of their own).
    pub typed: u32,
    /// Which argument of the tracepoint `io_uring_complete` gives the result: [`RESULT_IS_ARGUMENT`] or
    /// [`RESULT_IS_IN_CQE`].
    pub uring_result: u32,
    /// Number of the bit in `folio.flags` that marks a large folio (`PG_head`).
    pub folio_head_bit: u32,
    /// log2 of the size of a page.
    pub page_shift: u32,
    /// Number of the bit in `request.cmd_flags` that asks for a flush first (`__REQ_PREFLUSH`).
    pub preflush_bit: u32,
    /// Number of the bit in `request.cmd_flags` that asks for the medium (`__REQ_FUA`).
    pub fua_bit: u32,
    /// Number of the bit in `request.rq_flags` of what is part of a flush (`__RQF_FLUSH_SEQ`).
    pub flush_sequence_bit: u32,
    /// Not zero when a request is seen as it begins (`block_io_start`, 6.5), and not only the bio for which it was made.
    pub requests_start: u32,
    /// Not zero when `block_rq_complete` gives an errno and no `blk_status_t`.
    pub status_is_errno: u32,
    /// Number of targets.
    pub targets: u32,
    /// Buckets of the map `LATENCY_CELLS`.
    pub latency_buckets: u32,
    /// Not zero when `sched_switch` tells the state of the thread that leaves (5.18).
    pub switch_state: u32,
    /// Not zero when a worker of io_uring tells which request it carries out.
    pub workers: u32,
    /// Where the kernel lends `bpf_rdonly_cast`, the id of a structure that begins with an integer of eight bytes; else 0.
    pub cast_type: u32,
    /// Not zero when the paths of files can be followed.
    pub paths: u32,
    /// The bit of `bio.bi_opf` that marks swapping (`REQ_SWAP`); 0 where the kernel has none.
    pub swap_flag: u32,
    /// Number of the bit in `folio.flags` that marks a folio which is being written (`PG_writeback`).
    pub folio_writeback_bit: u32,
    /// One bit for each target: whether a class of its files is known by the name of a directory ([`ANYWHERE`]).
    pub named_directories: [u64; MAX_TARGETS / 64],
}

/// Stands in the object for `bpf_rdonly_cast`, which has no number but an id in the kernel's type information: the number of a helper that
/// no kernel has.
pub const RDONLY_CAST: i32 = 0x5DE0_0001;

/// [`Settings::uring_result`]: `(ctx, req, user_data, res, ...)`, up to 6.13.
pub const RESULT_IS_ARGUMENT: u32 = 3;
/// [`Settings::uring_result`]: `(ctx, req, cqe)`.
pub const RESULT_IS_IN_CQE: u32 = 2;

const _: () = assert!(size_of::<Settings>() == MAX_SYSCALLS + MAX_URING_OPS + 88 + MAX_TARGETS / 8);

/// A process that is watched; the key is its tgid.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetEntry {
    /// Index of the target in the configuration.
    pub target: u32,
    /// How it became one: [`FROM_RULE`], [`FROM_CGROUP`], [`FROM_PID`].
    pub from: u32,
}

/// [`TargetEntry::from`]: its comm or executable matches; an exec decides anew.
pub const FROM_RULE: u32 = 0;
/// [`TargetEntry::from`]: its cgroup matches; leaving the cgroup ends it.
pub const FROM_CGROUP: u32 = 1;
/// [`TargetEntry::from`]: named by pid; an exec does not change that.
pub const FROM_PID: u32 = 2;

/// What a process rule looks at.
pub const RULE_COMM: u32 = 0;
/// See [`RULE_COMM`].
pub const RULE_EXE: u32 = 1;
/// See [`RULE_COMM`].
pub const RULE_CGROUP: u32 = 2;

/// One rule by which a process is a target.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ProcessRule {
    /// The compiled pattern.
    pub glob: Automaton,
    /// [`RULE_COMM`], [`RULE_EXE`] or [`RULE_CGROUP`].
    pub kind: u32,
    /// The target that it makes.
    pub target: u32,
}

/// One rule by which a file's name gives its class.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ClassRule {
    /// The compiled pattern, for the last component of the path.
    pub glob: Automaton,
    /// The target whose files it is for.
    pub target: u32,
    /// The class that it gives.
    pub class: u32,
}

const _: () = assert!(size_of::<ProcessRule>() == size_of::<ClassRule>());

/// A class directory, for one target. The agent writes it, and its inode last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirEntry {
    /// Address of the directory's `struct inode`, which the agent pins with an inotify watch: numbers of device and inode are
    /// ambiguous on btrfs and overlayfs, and a pinned address cannot be reused. 0 where the place is free.
    pub inode: u64,
    /// Its inode number and generation: between the removal of a directory and the moment at which the agent
    /// hears of it, another one may be made at the same address.
    pub ino: u64,
    /// See [`DirEntry::ino`].
    pub generation: u32,
    /// The target.
    pub target: u32,
    /// The class of the files below, or [`NO_CLASS`].
    pub class: u32,
    /// Not zero when the map `CHILDREN` has entries below this directory.
    pub children: u32,
}

/// [`DirEntry::class`]: this directory is only on the way to a class directory.
pub const NO_CLASS: u32 = u32::MAX;
/// Longest name of a directory in the map `CHILDREN`.
pub const CHILD_NAME: usize = 64;
/// Most directories between one that exists and a class directory that does not yet.
pub const MAX_MISSING: usize = 4;

/// A class directory by its parent and its name. It matches from the instant at which the directory
/// is made, before the agent can know its inode.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChildKey {
    /// The parent: address of its inode, a small number that another [`ChildEntry::below`] gives, or [`ANYWHERE`].
    pub parent: u64,
    /// The target.
    pub target: u32,
    /// Zero.
    pub zero: u32,
    /// The name, padded with zeros.
    pub name: [u8; CHILD_NAME],
}

/// [`ChildKey::parent`]: a directory of this name is of the class wherever it is.
pub const ANYWHERE: u64 = 0;

/// What a [`ChildKey`] leads to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildEntry {
    /// The class of the files below, or [`NO_CLASS`].
    pub class: u32,
    /// Not zero when a class directory is further down: the `parent` of the next [`ChildKey`].
    pub below: u32,
}

/// A call or a request that has begun: one for each thread and operation, because calls nest (a write through a mapping
/// can fault into another), and one for each asynchronous request.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflightKey {
    /// The number by which it is known in the table.
    pub id: u64,
}

impl InflightKey {
    /// A call of a thread. Never the address of a request: those of the kernel have their highest bit set.
    #[must_use]
    pub const fn call(tid: u32, op: u8) -> Self {
        Self { id: (op as u64) << 32 | tid as u64 }
    }

    /// The request of io_uring or libaio whose structure is at this address until it has ended.
    #[must_use]
    pub const fn request(address: u64) -> Self {
        Self { id: address }
    }
}

/// What is kept from a call's begin to its end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Inflight {
    /// When it began.
    pub start_ns: u64,
    /// By what its file is known ([`crate::files::file_word`]), where writes to it wait for a sync; 0 elsewhere.
    pub file: u64,
    /// What the sync takes with it: the file's pending writes at its begin.
    pub group: Pending,
    /// The record of that file: its place from 1 on; 0 where it has none.
    pub record: u32,
    /// Index of the target.
    pub target: u32,
    /// `target * classes + class`.
    pub cell: u32,
    /// [`DURABLE`], [`GROUP`], [`UNRESOLVED`], [`FULL_SYNC`].
    pub flags: u32,
    /// [`crate::ops::Op`].
    pub op: u32,
    /// Device of the superblock of the file that it makes durable; 0 when there is none.
    pub dev: u32,
    /// Where its time went, for what makes a file durable: the place of its [`crate::phases::Partition`] from 1 on; 0 when
    /// that is not kept.
    pub partition: u32,
    /// Its own place in the table, from 1 on.
    pub place: u32,
    /// Where it is among those that wait on a file system: the place of the [`crate::disk::Waits`] from 1 on; 0 where it is not.
    pub waits: u32,
    /// Zero.
    pub zero: u32,
}

/// [`Inflight::flags`]: what this call writes is durable when it returns (`O_SYNC`, `O_DSYNC`, `RWF_SYNC`, `RWF_DSYNC`;
/// `O_DIRECT` alone is not).
pub const DURABLE: u32 = 1;
/// [`Inflight::flags`]: this sync makes the file's pending writes durable.
pub const GROUP: u32 = 2;
/// [`Inflight::flags`]: the file of an `msync` could not be looked up, at its begin or since.
pub const UNRESOLVED: u32 = 4;
/// [`Inflight::flags`]: beside [`DURABLE`], it is `O_SYNC` or `RWF_SYNC`.
pub const FULL_SYNC: u32 = 8;
/// [`Inflight::flags`]: a request, and it is not known yet who carries it out.
pub const CARRIED_OUT_BY_NOBODY: u32 = 16;

/// Pages that stores through mappings made dirty, for one cell, on one processor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MappedStats {
    /// Folios that were clean and became dirty.
    pub folios: u64,
    /// Their sizes in bytes.
    pub bytes: u64,
}

/// What sync calls of one operation did, for one cell, on one processor.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SyncStats {
    /// Calls that returned, failed ones too.
    pub calls: u64,
    /// Sum of their latencies in nanoseconds.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Where that time went, by [`crate::phases::Phase`], in nanoseconds: together exactly [`SyncStats::sum_ns`].
    pub phases: [u64; PHASES.len()],
    /// Latencies by [`crate::slots::latency_slot`].
    pub slots: [u64; SLOTS],
}

/// What writes did, and the groups in which syncs made them durable, for one cell, on one processor.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WriteStats {
    /// Calls that returned, failed ones too, by operation.
    pub calls: [u64; WRITE_OPS],
    /// Bytes that were taken, by operation.
    pub bytes: [u64; WRITE_OPS],
    /// Sum of the latencies of the calls in nanoseconds.
    pub sum_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Latencies by [`crate::slots::latency_slot`].
    pub slots: [u64; SLOTS],
    /// Sum of the times from the first write of a group to the return of the sync that covers it.
    pub flush_sum_ns: u64,
    /// Those times by [`crate::slots::latency_slot`].
    pub flush_slots: [u64; SLOTS],
    /// Sum of the writes in a group.
    pub group_writes: u64,
    /// Writes in a group by [`crate::slots::size_slot`].
    pub group_writes_slots: [u64; SIZE_SLOTS],
    /// Sum of the bytes in a group.
    pub group_bytes: u64,
    /// Bytes in a group by [`crate::slots::size_slot`].
    pub group_bytes_slots: [u64; SIZE_SLOTS],
}

const _: () = assert!(size_of::<SyncStats>() == 8 * (3 + PHASES.len() + SLOTS));
const _: () = assert!(size_of::<WriteStats>() == 8 * (2 * WRITE_OPS + 5 + 2 * SLOTS + 2 * SIZE_SLOTS));
const _: () = assert!(size_of::<Inflight>() == 80);

/// Which failed calls are counted together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorKey {
    /// `target * classes + class`.
    pub cell: u32,
    /// [`crate::ops::Op`].
    pub op: u16,
    /// errno, positive.
    pub errno: u16,
}

/// Number of sync statistics for a cell: index of a cell's operation is `cell * SYNC_CELL + op`.
pub const SYNC_CELL: u32 = {
    #[allow(clippy::cast_possible_truncation, reason = "thirteen")]
    let n = SYNC_OPS as u32;
    n
};

/// What the agent asks of the kernel about one of its own open files.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Address of the `struct inode`.
    pub inode: u64,
    /// Inode number as the kernel keeps it.
    pub ino: u64,
    /// Device of the superblock, in the kernel's own encoding (major << 20 | minor).
    pub dev: u32,
    /// `i_mode`.
    pub mode: u32,
    /// The caller's process id, to prove the offsets in `task_struct`.
    pub tgid: u32,
    /// Inode generation.
    pub generation: u32,
}

/// What happened to a process.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It became a target (exec, rename, or a move into a cgroup).
    Matched = 0,
    /// A target forked it.
    Forked = 1,
    /// It is a target no longer: gone, or another program, or another cgroup.
    Left = 2,
}

/// A process came or went.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// [`EventKind`].
    pub kind: u32,
    /// Process.
    pub tgid: u32,
    /// Index of the target.
    pub target: u32,
    /// Zero.
    pub zero: u32,
}
