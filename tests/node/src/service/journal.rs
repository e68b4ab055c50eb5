//! Changes go through the write-ahead log into the store; after a crash the log makes those again that the store may not have.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use stemedb_metrics::{Discard, Label as _, Metrics};

use super::Error;
use crate::storage::{Change, Store, Table};
use crate::wal::{self, Wal};

/// Under which key the number of the last entry is that is durable in the store.
const APPLIED: &[u8] = b"applied";

/// The log and the store.
pub struct Journal {
    wal: Wal,
    store: Arc<Store>,
    state: Arc<State>,
}

/// What the log's thread tells.
#[derive(Default)]
struct State {
    /// The last entry that the store has.
    applied: AtomicU64,
    /// Whether the store has failed to take one.
    is_behind: AtomicBool,
}

impl Journal {
    /// Opens the log in a folder, and brings the store up to date.
    pub fn open(folder: &Path, store: Store, metrics: &Metrics) -> Result<Self, Error> {
        let timer = metrics.wal.recovery().start();
        let store = Arc::new(store);
        let durable = store.of(Table::Meta).get(Table::Meta, APPLIED)?;
        let durable = durable.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?))).unwrap_or(0);
        let state = Arc::new(State::default());
        let mut failed = None;
        let again = |_: u64, payload: &[u8]| {
            if let Err(error) = decode(payload).and_then(|changes| Ok(store.apply(&changes)?)) {
                failed.get_or_insert(error);
            }
        };
        let options = wal::Options::new(folder);
        let (wal, recovered) =
            Wal::open(&options, durable + 1, again, on_commit(store.clone(), state.clone(), metrics.clone()))?;
        if let Some(error) = failed {
            return Err(error);
        }
        // A log that was emptied by hand goes on where the store is.
        state.applied.store(recovered.last.max(durable), Ordering::Release);
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
        drop(timer);
        Ok(Self { wal, store, state })
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The log, for its figures.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Whether changes can be made.
    pub fn check(&self) -> Result<(), Error> {
        if self.state.is_behind.load(Ordering::Acquire) {
            return Err(Error::Behind);
        }
        Ok(self.wal.check()?)
    }

    /// Makes changes, all or none; they are durable and can be read when this is over.
    pub async fn write(&self, changes: Vec<Change>) -> Result<(), Error> {
        self.check()?;
        let append = self.wal.append(encode(&changes))?;
        append.wait().await?;
        if self.state.is_behind.load(Ordering::Acquire) { Err(Error::Behind) } else { Ok(()) }
    }

    /// Makes the store durable, and has the log forget what came before. Blocks; returns how many segments were removed.
    pub fn checkpoint(&self) -> Result<usize, Error> {
        self.check()?;
        let applied = self.state.applied.load(Ordering::Acquire);
        self.store.flush()?;
        // Only now: what it says must be true after a crash.
        let value = Some(applied.to_le_bytes().to_vec());
        self.store.apply(&[Change { table: Table::Meta, key: APPLIED.to_vec(), value }])?;
        self.store.flush()?;
        Ok(self.wal.forget_before(applied + 1)?)
    }
}

/// Applies what was made durable, on the log's thread, so in the log's order.
fn on_commit(store: Arc<Store>, state: Arc<State>, metrics: Metrics) -> wal::OnCommit {
    Box::new(move |entries| {
        metrics.wal.committed(entries.len());
        for (number, payload) in entries {
            if state.is_behind.load(Ordering::Acquire) {
                return;
            }
            match decode(payload).and_then(|changes| Ok(store.apply(&changes)?)) {
                Ok(()) => state.applied.store(*number, Ordering::Release),
                Err(error) => {
                    log::error!("entry {number} cannot be stored: {error}");
                    metrics.errors.count(&error);
                    state.is_behind.store(true, Ordering::Release);
                }
            }
        }
    })
}

/// Changes as an entry of the log has them: table, length and bytes of the key, and the same of the value, whose length is `u32::MAX` where there is
/// none.
fn encode(changes: &[Change]) -> Vec<u8> {
    let mut out = Vec::new();
    let bytes = |bytes: Option<&[u8]>, out: &mut Vec<u8>| {
        let length = bytes.map_or(u32::MAX, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(bytes.unwrap_or_default());
    };
    for change in changes {
        let table = Table::ALL.iter().position(|table| *table == change.table);
        out.push(table.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX));
        bytes(Some(&change.key), &mut out);
        bytes(change.value.as_deref(), &mut out);
    }
    out
}

/// A key or a value in an entry.
enum Bytes {
    Some(Vec<u8>),
    None,
}

fn decode(mut rest: &[u8]) -> Result<Vec<Change>, Error> {
    fn change(rest: &mut &[u8]) -> Option<Change> {
        let (table, after) = rest.split_first()?;
        *rest = after;
        let table = *Table::ALL.get(usize::from(*table))?;
        let Bytes::Some(key) = bytes(rest)? else { return None };
        let value = match bytes(rest)? {
            Bytes::Some(value) => Some(value),
            Bytes::None => None,
        };
        Some(Change { table, key, value })
    }
    fn bytes(rest: &mut &[u8]) -> Option<Bytes> {
        let (length, after) = rest.split_first_chunk::<4>()?;
        *rest = after;
        let length = u32::from_le_bytes(*length);
        if length == u32::MAX {
            return Some(Bytes::None);
        }
        let (bytes, after) = rest.split_at_checked(length as usize)?;
        *rest = after;
        Some(Bytes::Some(bytes.to_vec()))
    }
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let why = || Error::Unreadable { table: "the log", why: "an entry is no list of changes".into() };
        changes.push(change(&mut rest).ok_or_else(why)?);
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn changes_are_what_they_were(all: Vec<(prop::sample::Index, Vec<u8>, Option<Vec<u8>>)>) {
            let change = |(table, key, value): (prop::sample::Index, Vec<u8>, Option<Vec<u8>>)| Change {
                table: *table.get(Table::ALL),
                key,
                value,
            };
            let changes: Vec<Change> = all.into_iter().map(change).collect();
            prop_assert_eq!(decode(&encode(&changes)).unwrap(), changes);
        }

        #[test]
        fn anything_is_read_without_a_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
