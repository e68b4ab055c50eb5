//! What the kernel cannot see of a write-ahead log: entries, and recoveries.

use prometheus::{Histogram, IntCounter, IntCounterVec};

use crate::catalog::Id;
use crate::families::{Error, Families};
use crate::labels::{Discard, Label};
use crate::timer::Timed;

/// Metrics of a write-ahead log.
#[derive(Clone, Debug)]
pub struct Wal {
    batch: Histogram,
    recovery: Timed,
    recovered: IntCounter,
    discarded: IntCounterVec,
}

impl Wal {
    pub(crate) fn new(families: &Families) -> Result<Self, Error> {
        let discarded = families.counters(Id::WalDiscarded)?;
        // There from the start, so that the first one is an increase.
        for reason in Discard::ALL {
            discarded.with_label_values(&[reason.as_str()]);
        }
        Ok(Self {
            batch: families.histogram(Id::WalBatch)?,
            recovery: Timed {
                count: families.counter(Id::WalRecoveries)?,
                duration: families.histogram(Id::WalRecovery)?,
            },
            recovered: families.counter(Id::WalRecovered)?,
            discarded,
        })
    }

    /// A group commit has made so many entries durable.
    pub fn committed(&self, entries: usize) {
        self.batch.observe(entries as f64);
    }

    /// Recoveries, counted when they begin and measured to their end.
    pub fn recovery(&self) -> &Timed {
        &self.recovery
    }

    /// A recovery has found so many entries whole.
    pub fn recovered(&self, entries: u64) {
        self.recovered.inc_by(entries);
    }

    /// A recovery has left out so many bytes at the end of the log.
    pub fn discarded(&self, reason: Discard, bytes: u64) {
        self.discarded.with_label_values(&[reason.as_str()]).inc_by(bytes);
    }
}
