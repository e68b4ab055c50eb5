//! What the agent can see, by which hook, and why not by a better one. Each capability has its hooks in order of preference;
//! the first that this kernel allows is used. This is the one place where kernels differ.

use serde::Serialize;
use stemedb_ebpf::offsets::Need;

/// A way to get a capability.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// Its name for people and for the label `hook`.
    pub name: &'static str,
    /// The programs, each named after the tracepoint that it is attached to.
    pub programs: &'static [&'static str],
    /// Fields that the programs follow beside the common ones.
    pub needs: &'static [Need],
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

// The exit first: an exit without its entry is nothing, an entry without its exit would be a call that is missed.
const SYSCALLS: Hook = Hook { name: "tp_btf:sys_enter+sys_exit", programs: &["sys_exit", "sys_enter"], needs: &[] };

/// Every capability.
pub const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "process",
        gives: "processes that start and stop while the agent runs",
        without: "only processes that the agent finds in /proc are counted",
        required: true,
        hooks: &[Hook {
            name: "tp_btf:sched_process_fork+exec+exit",
            programs: &["sched_process_fork", "sched_process_exec", "sched_process_exit"],
            needs: &[],
        }],
    },
    Capability {
        name: "rename",
        gives: "processes that take a matching name while they run",
        without: "such a process is counted from its next exec on",
        required: false,
        hooks: &[Hook { name: "tp_btf:task_rename", programs: &["task_rename"], needs: &[] }],
    },
    Capability {
        name: "exe",
        gives: "rules by the path of the executable",
        without: "exe rules match only processes that ran before the agent",
        required: false,
        hooks: &[Hook {
            name: "tp_btf:sched_process_exec",
            programs: &["sched_process_exec"],
            needs: &[Need::ExePath],
        }],
    },
    Capability {
        name: "cgroup",
        gives: "rules by cgroup and by systemd unit, for cgroups that appear while the agent runs",
        without: "cgroup and unit rules match only cgroups that were there before the agent",
        required: false,
        hooks: &[Hook {
            name: "tp_btf:cgroup_mkdir+rmdir+attach_task",
            programs: &["cgroup_mkdir", "cgroup_rmdir", "cgroup_attach_task"],
            needs: &[Need::Cgroup],
        }],
    },
    Capability {
        name: "sync",
        gives: "fsync, fdatasync, sync_file_range, msync, syncfs, sync",
        without: "no sync latency",
        required: true,
        hooks: &[SYSCALLS],
    },
    Capability {
        name: "write",
        gives: "write, pwrite64, writev, pwritev, pwritev2, sendfile, splice, copy_file_range, fallocate",
        without: "no write counts",
        required: true,
        hooks: &[SYSCALLS],
    },
    Capability {
        name: "msync_file",
        gives: "the file of an msync",
        without: "every msync is counted in class other",
        required: false,
        hooks: &[Hook { name: "bpf_find_vma", programs: &["sys_enter"], needs: &[Need::Msync] }],
    },
];

/// What became of a capability on this kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// [`Capability::name`]
    pub capability: &'static str,
    /// The hook in use; `None` when the capability is off.
    pub hook: Option<&'static str>,
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
    pub fn on(capability: &Capability, hook: &Hook, why: impl Into<String>) -> Self {
        Self {
            capability: capability.name,
            hook: Some(hook.name),
            why: why.into(),
            gives: capability.gives,
            without: None,
        }
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
            assert!(!capability.hooks.is_empty() && capability.hooks.iter().all(|hook| !hook.programs.is_empty()));
        }
    }
}
