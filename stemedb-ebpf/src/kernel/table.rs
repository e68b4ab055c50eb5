//! Places by numbers; see [`stemedb_ebpf::tables`].

use aya_ebpf::maps::Array;
use stemedb_ebpf::tables::{Ids, WAYS};

use super::atomic;

/// The place, from 1 on, that is known by `id`; 0 where none is.
#[inline(always)]
pub fn find(ids: &Array<Ids>, bucket: u32, id: u64) -> u32 {
    let Some(ids) = ids.get_ptr(bucket) else { return 0 };
    for way in 0..WAYS {
        // SAFETY: in bounds; a number that is read at once.
        if unsafe { (&raw const (*ids)[way as usize]).read_volatile() } == id {
            return bucket * WAYS + way + 1;
        }
    }
    0
}

/// Takes a place for `id`, from 1 on; 0 where none is free.
#[inline(always)]
pub fn take(ids: &Array<Ids>, bucket: u32, id: u64) -> u32 {
    let Some(ids) = ids.get_ptr_mut(bucket) else { return 0 };
    for way in 0..WAYS {
        // SAFETY: in bounds; an atomic on a map value. Who changes it from zero has the place.
        if unsafe { atomic::set_if_zero(&raw mut (*ids)[way as usize], id) } == 0 {
            return bucket * WAYS + way + 1;
        }
    }
    0
}

/// Gives a place back. From here on it is another's.
#[inline(always)]
pub fn free(ids: &Array<Ids>, place: u32) {
    const SHIFT: u32 = WAYS.trailing_zeros();
    let place = place.wrapping_sub(1);
    if let Some(ids) = ids.get_ptr_mut(place >> SHIFT) {
        // SAFETY: in bounds by the mask; a store to a map value.
        unsafe { (&raw mut (*ids)[(place & (WAYS - 1)) as usize]).write_volatile(0) }
    }
}
