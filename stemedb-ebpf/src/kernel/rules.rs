//! Which processes are targets: the rules are matched here, at the exec, the rename or the new cgroup itself, because
//! a process may be gone before the agent hears of it.

use stemedb_ebpf::glob::START;
use stemedb_ebpf::slots::masked;
use stemedb_ebpf::{FROM_CGROUP, FROM_RULE, Lost, MAX_PROCESS_RULES, RULE_CGROUP, RULE_COMM, RULE_EXE, TargetEntry};

use super::maps::{PATH_MAX, PROCESS_RULES, SCRATCH, Scratch, lost, setting};
use super::path;
use super::read::{self, Addr};

/// Length of `comm` in the kernel.
pub const COMM: usize = 16;

/// The target that a comm gives.
#[inline(never)]
pub fn by_comm(comm: &[u8; COMM]) -> Option<TargetEntry> {
    for i in 0..MAX_PROCESS_RULES as u32 {
        if i >= setting!(process_rules) {
            break;
        }
        let rule = PROCESS_RULES.get(i)?;
        if rule.kind != RULE_COMM {
            continue;
        }
        let mut state = START;
        for byte in comm {
            if *byte == 0 {
                break;
            }
            state = rule.glob.step(state, *byte);
        }
        if state & rule.glob.accept != 0 {
            return Some(TargetEntry { target: rule.target, from: FROM_RULE });
        }
    }
    None
}

/// The target that the path of an executable gives.
#[inline(always)]
pub fn by_exe(file: Addr) -> Option<TargetEntry> {
    let Some(start) = path::build(file) else {
        lost(Lost::ExePath);
        return None;
    };
    // SAFETY: this processor's own buffer; exec events do not nest.
    let scratch = unsafe { &*SCRATCH.get_ptr(0)? };
    by_path(scratch, start, RULE_EXE).map(|target| TargetEntry { target, from: FROM_RULE })
}

/// The target that the path of a cgroup gives.
#[inline(always)]
pub fn by_cgroup(path: Addr) -> Option<TargetEntry> {
    // SAFETY: as above; a cgroup is made by one thread at a time.
    let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0)? };
    // SAFETY: the helper checks the address, and ends the string inside the buffer.
    let read = unsafe {
        aya_ebpf::helpers::generated::bpf_probe_read_kernel_str(
            scratch.path.as_mut_ptr().cast(),
            PATH_MAX as u32,
            path as *const _,
        )
    };
    if read <= 0 {
        lost(Lost::KernelRead);
        return None;
    }
    by_path(scratch, 0, RULE_CGROUP).map(|target| TargetEntry { target, from: FROM_CGROUP })
}

/// Matches what is in the scratch buffer from `start` to the first zero or to its end.
#[inline(always)]
fn by_path(scratch: &Scratch, start: usize, kind: u32) -> Option<u32> {
    for i in 0..MAX_PROCESS_RULES as u32 {
        if i >= setting!(process_rules) {
            break;
        }
        let rule = PROCESS_RULES.get(i)?;
        if rule.kind == kind && path_matches(scratch, start, i) {
            return Some(rule.target);
        }
    }
    None
}

#[inline(never)]
fn path_matches(scratch: &Scratch, start: usize, rule: u32) -> bool {
    let Some(rule) = PROCESS_RULES.get(rule) else { return false };
    let mut state = START;
    for i in start..PATH_MAX {
        let byte = scratch.path[masked::<PATH_MAX>(i)];
        if byte == 0 || state == 0 {
            break;
        }
        state = rule.glob.step(state, byte);
    }
    state & rule.glob.accept != 0
}

/// Reads a task's comm.
#[inline(always)]
pub fn comm_of(task: Addr) -> Option<[u8; COMM]> {
    read::at(task, super::maps::offset!(task_comm))
}
