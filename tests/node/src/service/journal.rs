//! Changes go through the write-ahead log into the store; after a crash the log makes those again that the store may not have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stemedb_metrics::{Discard, Label as _, Metrics};

use super::Error;
use crate::replica::{Key, Record, Replica, Version, decode, encode};
use crate::storage::{Change, Store, Table};
use crate::wal::{self, Wal};

/// Under which key the number of the last entry is that is durable in the store.
const APPLIED: &[u8] = b"applied";

/// A change that is to be made now; without a value the key is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// Of what.
    pub(super) key: Key,
    /// What it has from here on.
    pub(super) value: Option<String>,
}

/// The log and the store.
pub struct Journal {
    wal: Wal,
    replica: Arc<Replica>,
    /// The last entry that the store has.
    applied: Arc<AtomicU64>,
    /// Held from a write's stamp to its place in the log, so that the log is in the order of stamps.
    order: Mutex<()>,
    /// Held by a checkpoint: what a later one has made durable must not be overwritten by what an earlier one has read.
    checkpoint: Mutex<()>,
}

impl Journal {
    /// Opens the log, and brings the store up to date.
    pub fn open(options: &wal::Options, replica: Replica, metrics: &Metrics) -> Result<Self, Error> {
        let timer = metrics.wal.recovery().start();
        let replica = Arc::new(replica);
        let durable = replica.store().of(Table::Meta).get(Table::Meta, APPLIED)?;
        let durable = durable.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?))).unwrap_or(0);
        let applied = Arc::new(AtomicU64::new(0));
        let mut failed = None;
        let again = |_: u64, payload: &[u8]| {
            if let Err(error) = apply(&replica, payload) {
                failed.get_or_insert(error);
            }
        };
        let (wal, recovered) =
            Wal::open(options, durable + 1, again, on_commit(replica.clone(), applied.clone(), metrics.clone()))?;
        if let Some(error) = failed {
            return Err(error);
        }
        applied.store(recovered.last, Ordering::Release);
        metrics.wal.recovered(recovered.entries);
        if let Some(tail) = recovered.tail {
            let reason = if tail.is_corrupt { Discard::Corrupt } else { Discard::Torn };
            metrics.wal.discarded(reason, tail.bytes);
            log::warn!(
                "the log ended in {} bytes that are no entry ({}), kept in {}",
                tail.bytes,
                reason.as_str(),
                tail.kept.display()
            );
        }
        replica.recovered()?;
        drop(timer);
        Ok(Self { wal, replica, applied, order: Mutex::default(), checkpoint: Mutex::default() })
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.replica.store()
    }

    /// What other nodes have and do not have of it.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The log, for its figures.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Whether changes can be made.
    pub fn check(&self) -> Result<(), Error> {
        if self.replica.is_broken() {
            return Err(Error::Behind);
        }
        Ok(self.wal.check()?)
    }

    /// Makes changes, all or none; they are durable and can be read when this is over.
    pub(super) async fn write(&self, edits: Vec<Edit>) -> Result<(), Error> {
        self.check()?;
        let place = self.wal.reserve().await?;
        let append = {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            let stamp = self.replica.stamp();
            let record = |Edit { key, value }| Record { version: Version { key, stamp }, value };
            place.send(encode(true, &edits.into_iter().map(record).collect::<Vec<_>>()))?
        };
        self.wait(append).await
    }

    /// Makes changes that were made elsewhere, where there are no later ones.
    pub(super) async fn take(&self, records: &[Record]) -> Result<(), Error> {
        self.check()?;
        let append = self.wal.reserve().await?.send(encode(false, records))?;
        self.wait(append).await
    }

    async fn wait(&self, append: wal::Append) -> Result<(), Error> {
        append.wait().await?;
        if self.replica.is_broken() { Err(Error::Behind) } else { Ok(()) }
    }

    /// Makes the store durable, and has the log forget what came before. Blocks; returns how many segments were removed.
    pub fn checkpoint(&self) -> Result<usize, Error> {
        let _only = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let applied = self.applied.load(Ordering::Acquire);
        let store = self.store();
        self.replica.keep_clock()?;
        store.flush()?;
        // Only now: what it says must be true after a crash.
        let value = Some(applied.to_le_bytes().to_vec());
        store.apply(&[Change { table: Table::Meta, key: APPLIED.to_vec(), value }])?;
        store.flush()?;
        Ok(self.wal.forget_before(applied + 1)?)
    }
}

/// Applies what was made durable, on the log's thread, so in the log's order.
fn on_commit(replica: Arc<Replica>, applied: Arc<AtomicU64>, metrics: Metrics) -> wal::OnCommit {
    Box::new(move |entries| {
        metrics.wal.committed(entries.len());
        for (number, payload) in entries {
            if replica.is_broken() {
                return;
            }
            match apply(&replica, payload) {
                Ok(()) => applied.store(*number, Ordering::Release),
                Err(error) => {
                    log::error!("entry {number} cannot be stored: {error}");
                    metrics.errors.count(&error);
                    replica.break_off();
                }
            }
        }
    })
}

fn apply(replica: &Replica, payload: &[u8]) -> Result<(), Error> {
    let why = || Error::Unreadable { table: "the log", why: "an entry is no list of changes".into() };
    Ok(replica.apply(&decode(payload).ok_or_else(why)?)?)
}
