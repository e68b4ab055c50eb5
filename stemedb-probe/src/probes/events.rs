//! Processes that came and went.

use stemedb_ebpf::Event;

use super::ring::Ring;

/// The ring.
pub const RING: &str = "EVENTS";

/// Takes out the next event, if there is one.
pub fn take_next(ring: &mut Ring) -> Option<Event> {
    let item = ring.take_next()?;
    let words: [u32; 4] = bytemuck::pod_read_unaligned(item.get(..size_of::<Event>())?);
    let [kind, tgid, target, zero] = words;
    Some(Event { kind, tgid, target, zero })
}
