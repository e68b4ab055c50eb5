//! Atomic instructions on map values that processors share. rustc's BPF target declares no compare-and-swap, so
//! `core::sync::atomic` has loads and stores only; these are the instructions themselves
//! (Documentation/bpf/standardization/instruction-set.rst, "Atomic operations"; from 5.12).

use core::arch::asm;

/// Adds to `*to`.
///
/// # Safety
/// `to` must point to an aligned `u64` in a map value.
#[inline(always)]
pub unsafe fn add(to: *mut u64, n: u64) {
    // SAFETY: see above.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) to, in(reg) n) }
}

/// Puts `value` into `*to` and returns what was there.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn swap(to: *mut u64, value: u64) -> u64 {
    let mut was = value;
    // SAFETY: see above.
    unsafe { asm!("{1} = xchg_64({0} + 0, {1})", in(reg) to, inout(reg) was) }
    was
}

/// Puts `value` into `*to` if `*to` is zero; returns what was there.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn set_if_zero(to: *mut u64, value: u64) -> u64 {
    // SAFETY: see above.
    unsafe { replace(to, 0, value) }
}

/// Adds to `*to` and returns what was there.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn fetch_add(to: *mut u64, n: u64) -> u64 {
    let mut was = n;
    // SAFETY: see above.
    unsafe { asm!("{1} = atomic_fetch_add((u64 *)({0} + 0), {1})", in(reg) to, inout(reg) was) }
    was
}

/// Puts `value` into `*to` if `was` is there; returns what was there.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn replace(to: *mut u64, was: u64, value: u64) -> u64 {
    let mut found = was;
    // SAFETY: see above.
    unsafe { asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) to, in(reg) value, inout("r0") found) }
    found
}
