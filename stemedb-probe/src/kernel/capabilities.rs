//! What the agent can see, by which hook, and why not by a better one. Each capability has its hooks in order of preference;
//! the first that this kernel allows is used. This is the one place where kernels differ.

use stemedb_ebpf::offsets::Need;
use stemedb_ebpf::ops::Family;

use super::hooks::{Arg, Attach, Capability, Hook, Place, Point};

const TASK: Arg = Arg::To("task_struct");
const CGROUP: Arg = Arg::To("cgroup");
const REQUEST: Arg = Arg::To("request");

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

/// Requests from a begin to their end.
macro_rules! requests {
    ($name:literal, $start:expr) => {
        Hook {
            name: $name,
            programs: &[
                tracepoint!("block_rq_complete" [REQUEST, Arg::Integer, Arg::Integer]),
                tracepoint!("block_rq_merge" [REQUEST]),
                tracepoint!("block_rq_requeue" [REQUEST]),
                tracepoint!("block_rq_issue" [REQUEST]),
                $start,
            ],
            needs: &[Need::Block, Need::Cache],
            helpers: &[],
            typed: false,
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
        name: "sched",
        gives: "how long sync calls are on a processor, wait for one, and are blocked",
        without: "the whole time of every sync call is in phase other",
        required: false,
        hooks: &[
            Hook {
                name: "sched_switch+wakeup",
                programs: &[
                    tracepoint!("sched_wakeup"[TASK]),
                    Attach { program: "sched_switch", place: Place::Tracepoint(&[SWITCH_WITH_STATE]) },
                ],
                needs: &[],
                helpers: &[],
                typed: false,
            },
            // Before 5.18 the state of the thread that leaves is read from the thread.
            Hook {
                name: "sched_switch+wakeup without state",
                programs: &[tracepoint!("sched_wakeup"[TASK]), tracepoint!("sched_switch" [Arg::Any, TASK, TASK])],
                needs: &[Need::Sched],
                helpers: &[],
                typed: false,
            },
        ],
    },
    Capability {
        name: "wait_sites",
        gives: "in which of the kernel's functions a sync call is blocked: waiting for data, a request, the journal or a flush",
        without: "all blocked time of sync calls is in phase other",
        required: false,
        hooks: &[
            Hook {
                name: "kallsyms+bpf_get_stack+folio_wait_writeback",
                programs: &[tracepoint!("folio_wait_writeback" [Arg::To("folio"), Arg::To("address_space")])],
                needs: &[Need::Cache, Need::Mapped],
                helpers: &[("get_stack", "4.18")],
                typed: false,
            },
            // Before 5.18. A wait for data is told by the stack as well, which takes longer.
            Hook {
                name: "kallsyms+bpf_get_stack",
                programs: &[],
                needs: &[],
                helpers: &[("get_stack", "4.18")],
                typed: false,
            },
        ],
    },
    Capability {
        name: "paths",
        gives: "the paths of the files of slow calls",
        without: "slow calls have an inode number and no path",
        required: false,
        hooks: &[Hook {
            name: "dentries and mounts",
            programs: &[],
            needs: &[Need::Paths, Need::ExePath],
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
                tracepoint!("io_uring_req_failed" [Arg::To("io_uring_sqe"), Arg::To("io_kiocb"), Arg::Integer]),
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
            needs: &[Need::Cache, Need::Mapped],
            helpers: &[("task_pt_regs", "5.15")],
            typed: true,
        }],
    },
    Capability {
        name: "block",
        gives: "block I/O by device: latency, counts, bytes, flushes and errors, charged to targets and classes",
        without: "no disk metrics, and no phases device and queue of sync calls, nor the flush in a journal's commit: that time is in other and journal",
        required: false,
        hooks: &[
            requests!(
                "block_io_start+issue+complete",
                Attach { program: "block_io_start", place: Place::Tracepoint(&[REQUEST_START]) }
            ),
            // Before 6.5.
            requests!("block_getrq+issue+complete", tracepoint!("block_getrq"[Arg::To("bio")])),
        ],
    },
    Capability {
        name: "bio",
        gives: "block I/O of devices that take bios and no requests: device-mapper, md, zram",
        without: "only the disks below such devices have metrics",
        required: false,
        hooks: &[Hook {
            name: "block_bio_queue+complete",
            programs: &[
                tracepoint!("block_bio_complete" [Arg::To("request_queue"), Arg::To("bio")]),
                tracepoint!("block_bio_queue"[Arg::To("bio")]),
            ],
            needs: &[Need::Block, Need::Cache, Need::BioBased],
            helpers: &[],
            typed: false,
        }],
    },
    Capability {
        name: "journal",
        gives: "which block I/O is a journal's or a log's, and which direct I/O is of which file",
        without: "the log of xfs is counted as direct or writeback, and direct I/O in class other",
        required: false,
        hooks: &[
            Hook {
                name: "kallsyms+jbd2_write_superblock",
                programs: &[tracepoint!("jbd2_write_superblock" [Arg::To("journal_s"), Arg::Any])],
                needs: &[Need::Block, Need::Journal],
                helpers: &[],
                typed: false,
            },
            // jbd2 is a module: the superblock of its journals is counted as direct or writeback.
            Hook { name: "kallsyms", programs: &[], needs: &[Need::Block], helpers: &[], typed: false },
        ],
    },
    Capability {
        name: "file_errors",
        gives: "errors of writing back pages, as the kernel records them against files",
        without: "no writeback errors",
        required: false,
        hooks: &[Hook {
            name: "filemap_set_wb_err",
            programs: &[tracepoint!("filemap_set_wb_err" [Arg::To("address_space"), Arg::Integer])],
            needs: &[Need::Cache],
            helpers: &[],
            typed: false,
        }],
    },
];

/// `sched_switch` with the state of the thread that leaves: from 5.18 on.
pub const SWITCH_WITH_STATE: Point = Point { name: "sched_switch", args: &[Arg::Any, TASK, TASK, Arg::Integer] };

/// Requests as they enter the block layer, in the thread that submits them: from 6.5 on.
pub const REQUEST_START: Point = Point { name: "block_io_start", args: &[REQUEST] };
/// `block_rq_complete` where it gives an errno: before 5.16.
pub const COMPLETE_WITH_ERRNO: Point = Point { name: "block_rq_complete", args: &[REQUEST, Arg::Wide, Arg::Integer] };

/// `io_uring_complete` from 6.14 on.
pub const URING_COMPLETE_CQE: Point =
    Point { name: "io_uring_complete", args: &[Arg::Any, Arg::Any, Arg::To("io_uring_cqe")] };
/// `io_uring_complete` before.
pub const URING_COMPLETE_ARGUMENT: Point =
    Point { name: "io_uring_complete", args: &[Arg::Any, Arg::Any, Arg::Integer, Arg::Integer] };

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
