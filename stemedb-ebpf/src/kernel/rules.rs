//! Which processes are targets: the rules are matched here, at the exec, the rename or the new cgroup itself, because
//! a process may be gone before the agent hears of it.

use stemedb_ebpf::glob::START;
use stemedb_ebpf::slots::masked;
use stemedb_ebpf::{FROM_CGROUP, FROM_RULE, Lost, MAX_PROCESS_RULES, RULE_CGROUP, RULE_COMM, RULE_EXE, TargetEntry};

use super::maps::{PATH_MAX, PROCESS_RULES, SCRATCH, lost, setting};
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
        if comm_matches(u64::from(i), comm) != 0 {
            return Some(TargetEntry { target: rule.target, from: FROM_RULE });
        }
    }
    None
}

/// Whether a comm is what the rule of a number wants.
///
/// A global function of the object: the verifier looks at it once, and not anew for every rule.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn comm_matches(rule: u64, comm: *const [u8; COMM]) -> u64 {
    // SAFETY: the verifier has it checked that a pointer is not null, and knows how much is behind it.
    let (Some(rule), Some(comm)) = (PROCESS_RULES.get(rule as u32), unsafe { comm.as_ref() }) else { return 0 };
    let mut state = START;
    for byte in comm {
        if *byte == 0 {
            break;
        }
        state = rule.glob.step(state, *byte);
    }
    u64::from(state & rule.glob.accept != 0)
}

/// The target that the path of an executable gives.
#[inline(always)]
pub fn by_exe(file: Addr) -> Option<TargetEntry> {
    // SAFETY: this processor's own buffer.
    unsafe { (*SCRATCH.get_ptr_mut(0)?).rules += 1 };
    let Some(start) = path::build(file) else {
        lost(Lost::ExePath);
        return None;
    };
    by_path(start, RULE_EXE).map(|target| TargetEntry { target, from: FROM_RULE })
}

/// The target that the path of a cgroup gives.
#[inline(always)]
pub fn by_cgroup(path: Addr) -> Option<TargetEntry> {
    // SAFETY: as above; a cgroup is made by one thread at a time.
    let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0)? };
    scratch.rules += 1;
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
    by_path(0, RULE_CGROUP).map(|target| TargetEntry { target, from: FROM_CGROUP })
}

/// Matches what is in the scratch buffer from `start` to the first zero or to its end.
#[inline(always)]
fn by_path(start: usize, kind: u32) -> Option<u32> {
    for i in 0..MAX_PROCESS_RULES as u32 {
        if i >= setting!(process_rules) {
            break;
        }
        let rule = PROCESS_RULES.get(i)?;
        if rule.kind == kind && path_matches(start as u64, u64::from(i)) != 0 {
            return Some(rule.target);
        }
    }
    None
}

/// Whether what is in the scratch buffer from `start` on is what the rule of a number wants. Global, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn path_matches(start: u64, rule: u64) -> u64 {
    let (Some(rule), Some(scratch)) = (PROCESS_RULES.get(rule as u32), SCRATCH.get_ptr(0)) else { return 0 };
    // SAFETY: this processor's own buffer; nothing else uses it meanwhile.
    let scratch = unsafe { &*scratch };
    let mut state = START;
    for i in start as usize..PATH_MAX {
        let byte = scratch.path[masked::<PATH_MAX>(i)];
        if byte == 0 || state == 0 {
            break;
        }
        state = rule.glob.step(state, byte);
    }
    u64::from(state & rule.glob.accept != 0)
}

/// Reads a task's comm.
#[inline(always)]
pub fn comm_of(task: Addr) -> Option<[u8; COMM]> {
    read::at(task, super::maps::offset!(task_comm))
}
