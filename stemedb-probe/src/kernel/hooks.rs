//! What the agent can see, by which hook, and why not by a better one. Each capability has its hooks in order of preference;
//! the first that this kernel allows is used. This is the one place where kernels differ.

use serde::Serialize;
use stemedb_ebpf::offsets::Need;
use stemedb_ebpf::ops::Family;

/// How the hooks are chosen: the option `--hooks`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The best that this kernel allows, for each capability
    #[default]
    Auto,
    /// fentry for system calls, or an error
    Fentry,
    /// No fentry: what kernels get that refuse it
    Tracepoint,
    /// Raw tracepoints only: what kernels without BTF of their own get
    RawTracepoint,
}

/// What a program takes from an argument of its tracepoint or function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// A pointer to this structure.
    To(&'static str),
    /// An integer.
    Integer,
    /// Nothing, or only an address.
    Any,
}

impl std::fmt::Display for Arg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::To(name) => write!(f, "a pointer to struct {name}"),
            Self::Integer => f.write_str("an integer"),
            Self::Any => f.write_str("anything"),
        }
    }
}

/// A tracepoint or function of the kernel, and the arguments that a program relies on. They have changed more than
/// once, and the type information tells.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// Its first arguments; of a function all, because its result comes after the last.
    pub args: &'static [Arg],
}

/// Where a program is attached.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// To the first of these tracepoints that this kernel has.
    Tracepoint(&'static [Point]),
    /// To the begin of a function.
    Entry(Point),
    /// To the end of a function.
    Exit(Point),
    /// To the begin of the functions of all system calls of a family.
    SyscallEntry(Family),
    /// To their end.
    SyscallExit(Family),
    /// To the begin of the functions of their 32-bit variants, where there are any.
    CompatEntry(Family),
}

/// One program of a hook.
#[derive(Debug, Clone, Copy)]
pub struct Attach {
    /// Its name in the object.
    pub program: &'static str,
    /// Where it is attached.
    pub place: Place,
}

/// A way to get a capability.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// Its name for people and for the label `hook`, without the kind.
    pub name: &'static str,
    /// Its programs, in the order in which they are attached.
    pub programs: &'static [Attach],
    /// Fields that the programs follow beside the common ones.
    pub needs: &'static [Need],
    /// Helpers of the kernel that they call beside the common ones (`enum bpf_func_id`), and since when it has them.
    pub helpers: &'static [(&'static str, &'static str)],
    /// Whether it needs the kernel's own type information even as a tracepoint.
    pub typed: bool,
}

impl Hook {
    /// Whether it is attached to functions, not to tracepoints.
    #[must_use]
    pub fn is_fentry(&self) -> bool {
        !self.programs.iter().any(|attach| matches!(attach.place, Place::Tracepoint(_)))
    }
}

/// Something that the agent can or cannot see.
#[derive(Debug, Clone, Copy)]
pub struct Capability {
    /// Its name for people and for the label `capability`.
    pub name: &'static str,
    /// What it gives.
    pub gives: &'static str,
    /// What is lost without it.
    pub without: &'static str,
    /// Whether the agent is of no use without it.
    pub required: bool,
    /// Ways to get it, the best first.
    pub hooks: &'static [Hook],
}

const TASK: Arg = Arg::To("task_struct");
const CGROUP: Arg = Arg::To("cgroup");

/// A tracepoint whose program has its name.
macro_rules! tracepoint {
    ($name:literal $args:expr) => {
        Attach { program: $name, place: Place::Tracepoint(&[Point { name: $name, args: &$args }]) }
    };
}
macro_rules! entry {
    ($program:literal, $function:literal $args:expr) => {
        Attach { program: $program, place: Place::Entry(Point { name: $function, args: &$args }) }
    };
}
macro_rules! exit {
    ($program:literal, $function:literal $args:expr) => {
        Attach { program: $program, place: Place::Exit(Point { name: $function, args: &$args }) }
    };
}

// The exit first: an exit without its entry is nothing, an entry without its exit would be a call that is missed.
// Attaching to a function that is running makes its running calls skip the exit, so the entry comes at once after it.
const SYS_EXIT: Attach = tracepoint!("sys_exit" [Arg::To("pt_regs"), Arg::Integer]);
const SYS_ENTER: Attach = tracepoint!("sys_enter" [Arg::To("pt_regs"), Arg::Integer]);
const BY_TRACEPOINT: Hook =
    Hook { name: "sys_enter+sys_exit", programs: &[SYS_EXIT, SYS_ENTER], needs: &[], helpers: &[], typed: false };

/// The functions of just the system calls that count: no other call of any process is slower for it.
macro_rules! by_function {
    ($name:literal, $family:expr) => {
        Hook {
            name: $name,
            programs: &[
                Attach { program: "syscall_exit", place: Place::SyscallExit($family) },
                Attach { program: "syscall_enter", place: Place::SyscallEntry($family) },
                Attach { program: "compat_enter", place: Place::CompatEntry($family) },
            ],
            needs: &[],
            helpers: &[],
            typed: true,
        }
    };
}

/// Every capability.
pub const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "process",
        gives: "processes that start and stop while the agent runs",
        without: "only processes that the agent finds in /proc are counted",
        required: true,
        hooks: &[Hook {
            name: "sched_process_fork+exec+exit",
            programs: &[
                tracepoint!("sched_process_fork" [TASK, TASK]),
                tracepoint!("sched_process_exec" [TASK, Arg::Integer, Arg::To("linux_binprm")]),
                tracepoint!("sched_process_exit"[TASK]),
            ],
            needs: &[],
            helpers: &[],
            typed: false,
        }],
    },
    Capability {
        name: "rename",
        gives: "processes that take a matching name while they run",
        without: "such a process is counted from its next exec on",
        required: false,
        hooks: &[Hook {
            name: "task_rename",
            programs: &[tracepoint!("task_rename" [TASK, Arg::Any])],
            needs: &[],
            helpers: &[],
            typed: false,
        }],
    },
    Capability {
        name: "exe",
        gives: "rules by the path of the executable",
        without: "exe rules match only processes that ran before the agent",
        required: false,
        hooks: &[Hook {
            name: "sched_process_exec",
            programs: &[tracepoint!("sched_process_exec" [TASK, Arg::Integer, Arg::To("linux_binprm")])],
            needs: &[Need::ExePath],
            helpers: &[],
            typed: false,
        }],
    },
    Capability {
        name: "cgroup",
        gives: "rules by cgroup and by systemd unit, for cgroups that appear while the agent runs",
        without: "cgroup and unit rules match only cgroups that were there before the agent",
        required: false,
        hooks: &[Hook {
            name: "cgroup_mkdir+rmdir+attach_task",
            programs: &[
                tracepoint!("cgroup_mkdir" [CGROUP, Arg::Any]),
                tracepoint!("cgroup_rmdir" [CGROUP, Arg::Any]),
                tracepoint!("cgroup_attach_task" [CGROUP, Arg::Any, TASK]),
            ],
            needs: &[Need::Cgroup],
            helpers: &[],
            typed: false,
        }],
    },
    Capability {
        name: "uring",
        gives: "writes and syncs by io_uring",
        without: "requests of io_uring are not counted, only the calls that submit them, as lost",
        required: false,
        hooks: &[Hook {
            name: "io_uring_submit+complete",
            programs: &[
                Attach {
                    program: "uring_complete",
                    place: Place::Tracepoint(&[URING_COMPLETE_CQE, URING_COMPLETE_ARGUMENT]),
                },
                Attach {
                    program: "uring_submit",
                    place: Place::Tracepoint(&[
                        Point { name: "io_uring_submit_req", args: &[Arg::To("io_kiocb")] },
                        // Until 6.3.
                        Point { name: "io_uring_submit_sqe", args: &[Arg::To("io_kiocb"), Arg::Any] },
                    ]),
                },
            ],
            needs: &[Need::Uring],
            helpers: &[],
            typed: false,
        }],
    },
    Capability {
        name: "aio",
        gives: "writes and syncs by libaio",
        without: "requests of libaio are not counted, only the calls that submit them, as lost",
        required: false,
        hooks: &[Hook {
            name: "aio_write+aio_fsync",
            programs: &[
                exit!("aio_write_exit", "aio_write" [Arg::To("kiocb"), Arg::To("iocb"), Arg::Any, Arg::Any]),
                entry!("aio_complete", "aio_complete_rw" [Arg::To("kiocb"), Arg::Integer]),
                entry!("aio_write_enter", "aio_write" [Arg::To("kiocb"), Arg::To("iocb"), Arg::Any, Arg::Any]),
                exit!("aio_fsync_exit", "aio_fsync" [Arg::To("fsync_iocb"), Arg::To("iocb"), Arg::Any]),
                exit!("aio_fsync_done", "vfs_fsync" [Arg::To("file"), Arg::Integer]),
                entry!("aio_fsync_work", "aio_fsync_work"[Arg::To("work_struct")]),
                entry!("aio_fsync_enter", "aio_fsync" [Arg::To("fsync_iocb"), Arg::To("iocb"), Arg::Any]),
            ],
            needs: &[Need::Aio],
            helpers: &[],
            typed: true,
        }],
    },
    Capability {
        name: "sync",
        gives: "fsync, fdatasync, sync_file_range, msync, syncfs, sync",
        without: "no sync latency",
        required: true,
        hooks: &[by_function!("sync_system_calls", Family::Sync), BY_TRACEPOINT],
    },
    Capability {
        name: "write",
        gives: "write, pwrite64, writev, pwritev, pwritev2, sendfile, splice, copy_file_range, fallocate",
        without: "no write counts",
        required: true,
        hooks: &[by_function!("write_system_calls", Family::Write), BY_TRACEPOINT],
    },
    Capability {
        name: "msync_file",
        gives: "the file of an msync",
        without: "every msync is counted in class other",
        required: false,
        hooks: &[Hook {
            name: "bpf_find_vma",
            programs: &[],
            needs: &[Need::Msync],
            helpers: &[("find_vma", "5.17")],
            typed: true,
        }],
    },
    Capability {
        name: "mapped",
        gives: "pages that stores through shared mappings make dirty",
        without: "stores through mappings are not seen, only the msync",
        required: false,
        hooks: &[Hook {
            name: "writeback_dirty_folio",
            programs: &[tracepoint!("writeback_dirty_folio" [Arg::To("folio"), Arg::To("address_space")])],
            needs: &[Need::Mapped],
            helpers: &[("task_pt_regs", "5.15")],
            typed: true,
        }],
    },
];

/// `io_uring_complete` from 6.14 on.
pub const URING_COMPLETE_CQE: Point =
    Point { name: "io_uring_complete", args: &[Arg::Any, Arg::Any, Arg::To("io_uring_cqe")] };
/// `io_uring_complete` before.
pub const URING_COMPLETE_ARGUMENT: Point =
    Point { name: "io_uring_complete", args: &[Arg::Any, Arg::Any, Arg::Integer, Arg::Integer] };

/// What became of a capability on this kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// [`Capability::name`]
    pub capability: &'static str,
    /// The hook in use; `None` when the capability is off.
    pub hook: Option<String>,
    /// Why this one, or why none.
    pub why: String,
    /// What it gives.
    pub gives: &'static str,
    /// What is lost without it, when it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<&'static str>,
}

impl Verdict {
    /// The capability is there.
    #[must_use]
    pub fn on(capability: &Capability, hook: String, why: impl Into<String>) -> Self {
        Self { capability: capability.name, hook: Some(hook), why: why.into(), gives: capability.gives, without: None }
    }

    /// The capability is not there.
    #[must_use]
    pub fn off(capability: &Capability, why: impl Into<String>) -> Self {
        Self {
            capability: capability.name,
            hook: None,
            why: why.into(),
            gives: capability.gives,
            without: Some(capability.without),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_distinct_and_have_hooks() {
        for (i, capability) in CAPABILITIES.iter().enumerate() {
            assert!(CAPABILITIES[..i].iter().all(|other| other.name != capability.name));
            assert!(!capability.hooks.is_empty());
            let places = capability.hooks.iter().flat_map(|hook| hook.programs);
            assert!(
                places.filter(|attach| matches!(attach.place, Place::Tracepoint(points) if points.is_empty())).count()
                    == 0
            );
        }
    }
}
