//! The user side of each probe: reads its maps. `Readers` together make a [`crate::snapshot::Snapshot`].

pub mod disks;
pub mod errors;
pub mod events;
pub mod files;
pub mod inflight;
pub mod lost;
pub mod mapped;
pub mod ring;
pub mod slow;
pub mod sync;
mod table;
pub mod waits;
pub mod write;

/// The target and the class of a cell.
#[must_use]
pub fn split_cell(cell: u32, classes: u32) -> (u32, u32) {
    (cell / classes, cell % classes)
}

/// Adds one processor's slots to the sum.
pub(crate) fn add_slots(sum: &mut [u64], slots: &[u64]) {
    for (sum, slot) in sum.iter_mut().zip(slots) {
        *sum += slot;
    }
}
