//! Kernel memory.

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_kernel_buf};

use stemedb_ebpf::RDONLY_CAST;

use super::maps::setting;

/// An address in the kernel that the verifier does not know the type of.
pub type Addr = u64;

/// Reads a `T` at `base + offset`: never faults, and what cannot be read is `None` or zero. By a plain load where the kernel lends
/// `bpf_rdonly_cast` (6.2), which makes an address a pointer that the verifier lets a program load from; a call of the helper
/// takes ten times as long.
#[inline(always)]
pub fn at<T: Copy>(base: Addr, offset: usize) -> Option<T> {
    let address = base as usize + offset;
    if setting!(cast_type) != 0 {
        // SAFETY: of what is read there are integers only; a fault reads as zero.
        return Some(unsafe { core::ptr::read_volatile(cast(address).cast::<T>()) });
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// The address as a pointer to a structure of integers, whatever there is.
#[inline(always)]
fn cast(address: usize) -> *const u8 {
    let pointer: *const u8;
    // SAFETY: the agent puts a call of the kernel's function here, or of none where this is never reached: see
    // `stemedb_probe::kernel::object`. It changes the registers that every call does.
    unsafe {
        core::arch::asm!(
            "call {call}",
            call = const RDONLY_CAST,
            inlateout("r1") address => _,
            inlateout("r2") u64::from(setting!(cast_type)) => _,
            lateout("r0") pointer,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
    pointer
}

/// Reads bytes.
#[inline(always)]
pub fn bytes(from: Addr, to: &mut [u8]) -> Option<()> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel_buf(from as *const u8, to) }.ok()
}

/// Reads a `T` behind a pointer that the verifier knows the type of: by a plain load, which needs no helper. Where it
/// knows no types ([`stemedb_ebpf::Settings::typed`]), by the helper.
///
/// # Safety
/// `base` must be such a pointer (a tracepoint's BTF argument, the current task, or what was loaded from one), else the
/// program is refused at load. A fault reads as zero.
#[inline(always)]
pub unsafe fn typed<T: Copy>(base: *const u8, offset: usize) -> T {
    if setting!(typed) != 0 {
        // SAFETY: see above.
        return unsafe { core::ptr::read_volatile(base.add(offset).cast::<T>()) };
    }
    // SAFETY: every type that is read here is an integer or a pointer, for which zero is a value.
    at(base as Addr, offset).unwrap_or_else(|| unsafe { core::mem::zeroed() })
}

/// A value that the verifier takes for a pointer, as a number: it allows no arithmetic with a pointer, nor one for a number.
#[inline(always)]
pub fn number(value: u64) -> u64 {
    at(core::ptr::from_ref(&value) as Addr, 0).unwrap_or(0)
}

/// The lower half of it: an operation on registers.
#[inline(always)]
pub fn lower_half(value: u64) -> u32 {
    let lower: u64;
    // SAFETY: an operation on two registers.
    unsafe { core::arch::asm!("w0 = w1", in("r1") value, out("r0") lower) }
    lower as u32
}
