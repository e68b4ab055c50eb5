//! Tables of the kernel side; see [`stemedb_ebpf::tables`].

use stemedb_ebpf::tables::{Ids, WAYS};

use crate::kernel::shared::Mapping;

/// The places of a table that are taken now, each with its number.
pub(super) fn taken(ids: &Mapping<Ids>) -> impl Iterator<Item = (u32, u64)> {
    let buckets = (0_u32..).zip((0..ids.len()).filter_map(|bucket| ids.read(bucket)));
    buckets.flat_map(|(bucket, ids)| {
        let places = (bucket * WAYS..).zip(ids);
        places.filter(|(_, id)| *id != 0)
    })
}
