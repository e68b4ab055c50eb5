//! When a change was made: an order that all nodes agree on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Bits below the milliseconds of a time: a number for those of one millisecond.
const BITS: u32 = 16;
/// A time that is ahead of this node's clock by more is refused, or one wrong clock would be everybody's.
const AHEAD: Duration = Duration::from_mins(10);

/// When and where a change was made. No two writes have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Milliseconds since 1970, and a number below them: a hybrid logical clock (Kulkarni et al. 2014).
    pub time: u64,
    /// The node.
    pub node: u32,
}

impl Stamp {
    /// Before all others.
    pub const ZERO: Self = Self { time: 0, node: 0 };
    /// Bytes on the disk.
    pub const SIZE: usize = 12;

    /// As bytes that are in the order of stamps.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.time.to_be_bytes());
        bytes[8..].copy_from_slice(&self.node.to_be_bytes());
        bytes
    }

    /// From these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk()?;
        let node = rest.try_into().ok()?;
        Some(Self { time: u64::from_be_bytes(*time), node: u32::from_be_bytes(node) })
    }

    /// Whether it is not further from now than that, by this node's clock. One that is further ahead is of a clock that is wrong, and may be
    /// as old as any.
    #[must_use]
    pub fn is_within(self, distance: Duration) -> bool {
        Duration::from_millis((wall() >> BITS).abs_diff(self.time >> BITS)) <= distance
    }

    /// Whether it is of a clock that goes so wrong that nothing of it is taken.
    #[must_use]
    pub fn is_of_the_future(self) -> bool {
        (self.time >> BITS) > (wall() >> BITS) + u64::try_from(AHEAD.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The machine's clock in milliseconds since 1970.
#[must_use]
pub fn milliseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn wall() -> u64 {
    milliseconds().min(u64::MAX >> BITS) << BITS
}

/// A node's clock, which never goes back, whatever the machine's does.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// A time after all that this clock has given and seen.
    pub fn now(&self) -> u64 {
        let wall = wall();
        let next = |last: u64| wall.max(last + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last))).map_or(wall, next)
    }

    /// Goes on after a time of another node, or of an earlier life.
    pub fn seen(&self, time: u64) {
        self.0.fetch_max(time, Ordering::AcqRel);
    }

    /// The last time that was given or seen.
    pub fn last(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_after_what_was_seen() {
        let clock = Clock::default();
        let first = clock.now();
        assert!(clock.now() > first);
        let ahead = first + (60_000 << BITS);
        clock.seen(ahead);
        assert_eq!(clock.now(), ahead + 1);
    }

    #[test]
    fn bytes_are_in_the_order_of_stamps() {
        let all = [(0, 9), (1, 0), (255, 1), (256, 0), (u64::MAX, u32::MAX)].map(|(time, node)| Stamp { time, node });
        assert!(all.is_sorted() && all.map(Stamp::to_bytes).is_sorted());
        assert!(all.iter().all(|stamp| Stamp::from_bytes(&stamp.to_bytes()) == Some(*stamp)));
        assert_eq!(Stamp::from_bytes(&[0; 11]), None);
    }

    #[test]
    fn a_clock_that_is_ahead_is_known() {
        assert!(!Stamp { time: wall(), node: 0 }.is_of_the_future());
        assert!(Stamp { time: u64::MAX, node: 0 }.is_of_the_future());
        let of = |millis: u64| Stamp { time: wall() - (millis << BITS), node: 0 };
        assert!(of(500).is_within(Duration::from_secs(1)) && !of(5_000).is_within(Duration::from_secs(1)));
        let ahead = Stamp { time: wall() + (5_000 << BITS), node: 0 };
        assert!(!ahead.is_within(Duration::from_secs(1)));
    }
}
