//! Kernel memory.

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_kernel_buf};

use super::maps::setting;

/// An address in the kernel that the verifier does not know the type of.
pub type Addr = u64;

/// Reads a `T` at `base + offset` with the helper: never faults, an unreadable address is `None`.
#[inline(always)]
pub fn at<T>(base: Addr, offset: usize) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base as usize + offset) as *const T) }.ok()
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
