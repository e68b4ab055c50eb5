//! Slow calls, told one by one as they end: what they were, where their time went, and the path of their file as their process sees it.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use stemedb_ebpf::phases::{NO_PATH, Phase, SLOW_PATH, SlowCall, UNDIVIDED, UNLINKED};
use stemedb_ebpf::{Inflight, Lost};

use super::atomic;
use super::maps::{PATH_MAX, SCRATCH, SLOW, SLOW_NS, SLOW_SCRATCH, SlowScratch, lost, offset, setting};
use super::path;
use super::phases;
use super::read::{self, Addr};

/// How a call ended.
#[derive(Clone, Copy)]
pub struct End {
    /// The operation that it is counted as.
    pub op: u8,
    /// How long it took.
    pub total_ns: u64,
    /// When.
    pub at_ns: u64,
    /// What it returned.
    pub ret: i64,
    /// Writes and bytes that it made durable.
    pub durable: (u64, u64),
}

/// From how many nanoseconds on a call is told.
#[inline(always)]
pub fn from_ns() -> u64 {
    SLOW_NS.get(0).copied().unwrap_or(u64::MAX)
}

/// Tells one.
#[inline(always)]
pub fn tell(call: &Inflight, end: End) {
    let Some(slow) = SLOW_SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: this processor's own buffer, which is taken first.
    let slow = unsafe { &mut *slow };
    // SAFETY: part of a map value, and aligned.
    if unsafe { atomic::swap(&raw mut slow.busy, 1) } != 0 {
        lost(Lost::SlowFull);
        return;
    }
    let told = &mut slow.call;
    told.end_ns = end.at_ns;
    told.total_ns = end.total_ns;
    (told.writes, told.bytes) = end.durable;
    told.dev = call.dev;
    told.cell = call.cell;
    told.op = u32::from(end.op);
    told.errno = if end.ret < 0 { -end.ret as u32 } else { 0 };
    slow_call_out(u64::from(call.partition));
}

/// Finishes what is in this processor's buffer with what is kept of the call at a place, and with the path of its file, and sends it.
///
/// A global function of the object, with numbers for arguments: the verifier looks at it once, and not anew for every way that leads
/// to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn slow_call_out(place: u64) -> u64 {
    let Some(slow) = SLOW_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: as above.
    let slow = unsafe { &mut *slow };
    let told = &mut slow.call;
    if let Some(parts) = phases::parts(place as u32) {
        told.parts = *parts;
        told.flags = 0;
    } else {
        told.parts = [0; _];
        told.parts[Phase::Other as usize] = told.total_ns;
        told.flags = UNDIVIDED;
    }
    let (thread, file, inode) = phases::about(place as u32);
    told.thread = thread;
    told.ino = 0;
    told.path_len = 0;
    told.comm = [0; 16];
    let is_own = bpf_get_current_pid_tgid() >> 32 == thread >> 32;
    if is_own && let Ok(comm) = bpf_get_current_comm() {
        told.comm = comm;
    }
    if inode != 0 {
        slow.call.ino = read::at(inode, offset!(inode_ino)).unwrap_or(0);
    }
    match path_of(file, inode, slow) {
        Some(len) => slow.call.path_len = len,
        None => slow.call.flags |= NO_PATH,
    }
    let len = slow.call.path_len as usize & (SLOW_PATH - 1);
    // SAFETY: the call and the path lie one behind the other, and no more is sent than both are long.
    let bytes =
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(slow).cast::<u8>(), size_of::<SlowCall>() + len) };
    if SLOW.output::<[u8]>(bytes, 0).is_err() {
        lost(Lost::SlowFull);
    }
    // SAFETY: as above; nothing is written to it before.
    unsafe { atomic::swap(&raw mut slow.busy, 0) };
    0
}

/// Puts the path of a file into the buffer; its length.
#[inline(always)]
fn path_of(file: Addr, inode: Addr, slow: &mut SlowScratch) -> Option<u32> {
    // A file that another thread has closed meanwhile may be another's by now.
    if setting!(paths) == 0 || file == 0 || read::at::<Addr>(file, offset!(file_inode))? != inode {
        return None;
    }
    // SAFETY: this processor's own buffer. That rules have not used it meanwhile is looked at below.
    let scratch = unsafe { &*SCRATCH.get_ptr(0)? };
    let rules = read_once(&scratch.rules);
    let start = path::build_seen(file)?;
    let dentry: Addr = read::at(file, offset!(file_dentry))?;
    if read::at::<Addr>(dentry, offset!(dentry_hash))? == 0 {
        slow.call.flags |= UNLINKED;
    }
    if start == 0 {
        // One byte too long for the mask below.
        return None;
    }
    let len = (PATH_MAX - start) & (SLOW_PATH - 1);
    // SAFETY: `start` is below PATH_MAX, and the path has that many bytes behind it at least; the verifier checks both ends.
    let done = unsafe {
        bpf_probe_read_kernel(
            slow.path.as_mut_ptr().cast(),
            len as u32,
            scratch.path.as_ptr().add(start & (PATH_MAX - 1)).cast(),
        )
    };
    (done == 0 && read_once(&scratch.rules) == rules).then_some(len as u32)
}

/// What is there now.
#[inline(always)]
fn read_once(figure: &u64) -> u64 {
    // SAFETY: a reference.
    unsafe { core::ptr::from_ref(figure).read_volatile() }
}
