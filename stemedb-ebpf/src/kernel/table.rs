//! Places by numbers; see [`stemedb_ebpf::tables`].

use aya_ebpf::maps::Array;
use stemedb_ebpf::tables::{CELL_PROBES, Ids, WAYS, cell_bucket};

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

/// The number of a place; 0 for what is none.
#[inline(always)]
pub fn id_at(ids: &Array<Ids>, place: u32) -> u64 {
    // SAFETY: a number that is read at once.
    slot(ids, place).map_or(0, |id| unsafe { id.read_volatile() })
}

/// Changes the number of a place, unless another has changed it.
#[inline(always)]
pub fn change(ids: &Array<Ids>, place: u32, was: u64, is: u64) -> bool {
    // SAFETY: an atomic on a map value.
    slot(ids, place).is_some_and(|id| unsafe { atomic::replace(id, was, is) == was })
}

/// Where the number of a place is.
#[inline(always)]
pub fn slot(ids: &Array<Ids>, place: u32) -> Option<*mut u64> {
    const SHIFT: u32 = WAYS.trailing_zeros();
    let place = place.wrapping_sub(1);
    let ids = ids.get_ptr_mut(place >> SHIFT)?;
    // SAFETY: in bounds by the mask.
    Some(unsafe { (&raw mut (*ids)[(place & (WAYS - 1)) as usize]) })
}

/// Takes a place for `id`, from 1 on; 0 where none is free.
#[inline(always)]
pub fn take(ids: &Array<Ids>, bucket: u32, id: u64) -> u32 {
    let Some(ids) = ids.get_ptr_mut(bucket) else { return 0 };
    for way in 0..WAYS {
        // SAFETY: in bounds; a number that is read at once, and an atomic on a map value. Who changes it from zero has the place.
        unsafe {
            let place = &raw mut (*ids)[way as usize];
            if place.read_volatile() == 0 && atomic::set_if_zero(place, id) == 0 {
                return bucket * WAYS + way + 1;
            }
        }
    }
    0
}

/// The place that is known by `id`, or else one that is taken for it, from 1 on; 0 where none is free. And whether it was known.
#[inline(always)]
pub fn find_or_take(ids: &Array<Ids>, bucket: u32, id: u64) -> (u32, bool) {
    let mut free = 0;
    if let Some(ids) = ids.get_ptr(bucket) {
        for way in 0..WAYS {
            // SAFETY: as in `find`.
            let was = unsafe { (&raw const (*ids)[way as usize]).read_volatile() };
            if was == id {
                return (bucket * WAYS + way + 1, true);
            }
            if was == 0 && free == 0 {
                free = bucket * WAYS + way + 1;
            }
        }
    }
    // Who changes it from zero has the place; where another was faster, there may be another place.
    if free != 0 && change(ids, free, 0, id) { (free, false) } else { (take(ids, bucket, id), false) }
}

/// The place, from 1 on, of what is counted under `word`, which is its own for good; 0 where there is no room. The first place that is
/// free is taken, so that nothing is behind one.
#[inline(always)]
pub fn cell(ids: &Array<Ids>, buckets: u32, word: u64) -> u32 {
    let first = cell_bucket(word, buckets);
    for probe in 0..CELL_PROBES {
        let bucket = (first + probe) & (buckets - 1);
        let Some(ids) = ids.get_ptr_mut(bucket) else { return 0 };
        for way in 0..WAYS {
            // SAFETY: as in `take`.
            unsafe {
                let place = &raw mut (*ids)[way as usize];
                let mut was = place.read_volatile();
                if was == 0 {
                    was = atomic::set_if_zero(place, word);
                }
                if was == 0 || was == word {
                    return bucket * WAYS + way + 1;
                }
            }
        }
    }
    0
}

/// Gives a place back. From here on it is another's.
#[inline(always)]
pub fn free(ids: &Array<Ids>, place: u32) {
    if let Some(id) = slot(ids, place) {
        // SAFETY: a store to a map value.
        unsafe { id.write_volatile(0) }
    }
}
