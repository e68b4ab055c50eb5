//! The life of processes and cgroups: keeps `TARGETS` right at every instant, so that a process that starts,
//! writes and dies within a millisecond is counted.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use stemedb_ebpf::tables::process_entry;
use stemedb_ebpf::{EventKind, FROM_CGROUP, FROM_PID, FROM_RULE, Lost, TargetEntry};

use crate::kernel::call;
use crate::kernel::maps::{CGROUPS, lost, offset, setting, tell};
use crate::kernel::read::{self, Addr};
use crate::kernel::{rules, targets};

/// `sched_process_fork(parent, child)`: a child of a target is one too, until it runs another program.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let parent = (bpf_get_current_pid_tgid() >> 32) as u32;
    let word = targets::word(parent);
    if word == 0 {
        return 0;
    }
    let entry = process_entry(word);
    // SAFETY: a typed argument of the tracepoint.
    let child: u32 = unsafe { read::typed(ctx.arg(1), offset!(task_tgid)) };
    if child != parent {
        // A child of a process that was named by pid is a target like any other: its own exec ends that.
        let from = if entry.from == FROM_PID { FROM_RULE } else { entry.from };
        watch(child, TargetEntry { from, ..entry }, EventKind::Forked);
    }
    0
}

/// `sched_process_exec(task, old_pid, bprm)`: the rules decide anew.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let before = targets::word(tgid);
    if before != 0 && process_entry(before).from == FROM_PID {
        return 0;
    }
    match exec_target(ctx.arg::<u64>(0), ctx.arg::<u64>(2)) {
        Some(entry) => watch(tgid, entry, EventKind::Matched),
        None => {
            if before != 0 {
                unwatch(tgid, process_entry(before).target);
            }
        }
    }
    0
}

/// The target of a program that has just begun, by comm, then by executable, then by cgroup.
#[inline(always)]
fn exec_target(task: Addr, bprm: Addr) -> Option<TargetEntry> {
    if let Some(comm) = rules::comm_of(task)
        && let Some(entry) = rules::by_comm(&comm)
    {
        return Some(entry);
    }
    if setting!(exe_paths) != 0
        && let Some(file) = read::at::<Addr>(bprm, offset!(bprm_file))
        && let Some(entry) = rules::by_exe(file)
    {
        return Some(entry);
    }
    // SAFETY: the helper has no precondition; the entry is copied at once.
    unsafe { CGROUPS.get(bpf_get_current_cgroup_id()) }.copied()
}

/// `task_rename(task, comm)`: a process that takes a matching name is a target from then on. One that
/// takes another stays: databases rename their threads all the time.
#[btf_tracepoint(function = "task_rename")]
pub fn task_rename(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: a typed argument of the tracepoint.
    let (tgid, pid): (u32, u32) =
        unsafe { (read::typed(ctx.arg(0), offset!(task_tgid)), read::typed(ctx.arg(0), offset!(task_pid))) };
    if tgid != pid || targets::word(tgid) != 0 {
        return 0;
    }
    let mut comm = [0_u8; rules::COMM];
    // SAFETY: the helper checks the address, and ends the string inside the buffer.
    let read = unsafe {
        aya_ebpf::helpers::generated::bpf_probe_read_kernel_str(
            comm.as_mut_ptr().cast(),
            rules::COMM as u32,
            ctx.arg::<u64>(1) as *const _,
        )
    };
    if read > 0
        && let Some(entry) = rules::by_comm(&comm)
    {
        watch(tgid, entry, EventKind::Matched);
    }
    0
}

/// `sched_process_exit(task, ...)`: forgets the thread, and with the last one the process.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let thread = bpf_get_current_pid_tgid();
    let tgid = (thread >> 32) as u32;
    let word = targets::word(tgid);
    if word == 0 {
        return 0;
    }
    call::forget(thread as u32);
    // SAFETY: a typed argument of the tracepoint, and what it points to.
    let live: i32 = unsafe {
        let signal: *const u8 = read::typed(ctx.arg(0), offset!(task_signal));
        if signal.is_null() {
            return 0;
        }
        read::typed(signal, offset!(signal_live))
    };
    if live == 0 {
        unwatch(tgid, process_entry(word).target);
    }
    0
}

/// `cgroup_mkdir(cgrp, path)`: a new cgroup that matches is watched before anything can run in it.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    if let Some(id) = cgroup_id(ctx.arg(0))
        && let Some(entry) = rules::by_cgroup(ctx.arg(1))
        && CGROUPS.insert(&id, &entry, 0).is_err()
    {
        lost(Lost::TargetsFull);
    }
    0
}

/// `cgroup_rmdir(cgrp, path)`
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    if let Some(id) = cgroup_id(ctx.arg(0)) {
        let _ = CGROUPS.remove(&id);
    }
    0
}

/// `cgroup_attach_task(dst, path, task, threadgroup)`
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    let Some(id) = cgroup_id(ctx.arg(0)) else { return 0 };
    // SAFETY: a typed argument of the tracepoint.
    let tgid: u32 = unsafe { read::typed(ctx.arg(2), offset!(task_tgid)) };
    let word = targets::word(tgid);
    if word != 0 {
        let known = process_entry(word);
        if known.from != FROM_CGROUP {
            return 0;
        }
        unwatch(tgid, known.target);
    }
    // SAFETY: the entry is copied at once.
    if let Some(entry) = unsafe { CGROUPS.get(id) }.copied() {
        watch(tgid, entry, EventKind::Matched);
    }
    0
}

/// The id of a cgroup of the unified hierarchy; ids of the old hierarchies mean nothing beside these.
#[inline(always)]
fn cgroup_id(cgroup: Addr) -> Option<u64> {
    let root: Addr = read::at(cgroup, offset!(cgroup_root))?;
    let hierarchy: i32 = read::at(root, offset!(cgroup_root_hierarchy))?;
    if hierarchy != 0 {
        return None;
    }
    let node: Addr = read::at(cgroup, offset!(cgroup_kn))?;
    read::at(node, offset!(kn_id))
}

#[inline(always)]
fn watch(tgid: u32, entry: TargetEntry, kind: EventKind) {
    if targets::set(tgid, entry) {
        tell(kind, tgid, entry.target);
    } else {
        lost(Lost::TargetsFull);
    }
}

#[inline(always)]
fn unwatch(tgid: u32, target: u32) {
    if targets::remove(tgid) {
        tell(EventKind::Left, tgid, target);
    }
}
