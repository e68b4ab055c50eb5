//! What each peer has not acknowledged of this node's writes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Key, Record, Replica, Stamp, milliseconds, pages};
use crate::storage::{Change, Error, Store, Table};

/// Bytes of values that are sent at once, about: the body of a request has a limit.
pub const BATCH_BYTES: usize = 256 << 10;
/// Rows that are removed at once.
const TRIM: usize = 10_000;

/// What a row has; its key is the write's stamp.
#[derive(Serialize, Deserialize)]
struct Sent<K> {
    /// When the write was made by this machine's clock, in milliseconds since 1970: the stamp's may follow a peer's that is ahead.
    at: u64,
    /// The keys that it changed.
    keys: Vec<K>,
}

/// The row of a write.
pub(super) fn row(stamp: Stamp, keys: &[&Key]) -> Change {
    let row = Sent { at: milliseconds(), keys: keys.to_vec() };
    // Keys are text and a table's name: nothing in them can fail.
    Change { table: Table::Outbox, key: stamp.to_bytes().to_vec(), value: serde_json::to_vec(&row).ok() }
}

/// How far one peer is.
#[derive(Debug)]
pub struct Progress {
    name: String,
    /// The last write that it has acknowledged, with all before.
    acknowledged: Mutex<Stamp>,
    pending: AtomicUsize,
    has_more: Mutex<bool>,
    more: Condvar,
}

/// A write that is to be sent.
#[derive(Debug)]
pub struct Row {
    /// When it was made.
    pub stamp: Stamp,
    /// What has not been changed again since.
    pub records: Vec<Record>,
}

impl Progress {
    pub(super) fn open(store: &Store, name: &str) -> Result<Self, Error> {
        let bytes = store.of(Table::Meta).get(Table::Meta, key_of(name).as_bytes())?;
        let acknowledged = bytes.and_then(|bytes| Stamp::from_bytes(&bytes)).unwrap_or(Stamp::ZERO);
        Ok(Self {
            name: name.to_owned(),
            acknowledged: Mutex::new(acknowledged),
            pending: AtomicUsize::new(0),
            has_more: Mutex::new(false),
            more: Condvar::new(),
        })
    }

    pub(super) fn count(&self, store: &Store) -> Result<(), Error> {
        let after = self.acknowledged().to_bytes();
        let mut rows = 0;
        pages(store, Table::Outbox, Some(&after), |_, _| rows += 1)?;
        self.pending.store(rows, Ordering::Release);
        Ok(())
    }

    /// There are more writes of this node, with these stamps.
    pub(super) fn more<'a>(&self, writes: impl Iterator<Item = &'a Stamp>) {
        let acknowledged = self.acknowledged();
        let writes = writes.filter(|stamp| **stamp > acknowledged).count();
        if writes == 0 {
            return;
        }
        self.pending.fetch_add(writes, Ordering::AcqRel);
        *self.has_more.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.more.notify_all();
    }

    /// Waits until there may be something to send, or for as long as is said.
    pub fn wait(&self, limit: Duration) {
        let guard = self.has_more.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.more.wait_timeout_while(guard, limit, |has_more| !*has_more);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// The peer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes that it has not acknowledged.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    fn acknowledged(&self) -> Stamp {
        *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replica {
    /// The first writes that a peer has not acknowledged, at most so many.
    pub fn unsent(&self, peer: &Progress, limit: usize) -> Result<Vec<Row>, Error> {
        let after = peer.acknowledged().to_bytes();
        let rows = self.store.of(Table::Outbox).scan(Table::Outbox, &[], Some(&after), limit)?;
        let (mut all, mut bytes) = (Vec::new(), 0);
        for (stamp, keys) in rows {
            let Some(stamp) = Stamp::from_bytes(&stamp) else { continue };
            let keys = serde_json::from_slice(&keys).map_or_else(|_| Vec::new(), |row: Sent<Key>| row.keys);
            let mut records = self.records(&keys)?;
            // What was changed again has a row of its own, or is another node's.
            records.retain(|record| record.version.stamp == stamp);
            bytes += records.iter().map(|record| record.value.as_ref().map_or(0, String::len)).sum::<usize>();
            all.push(Row { stamp, records });
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok(all)
    }

    /// A peer has acknowledged these.
    pub fn acknowledge(&self, peer: &Progress, rows: &[Row]) -> Result<(), Error> {
        let Some(last) = rows.last() else { return Ok(()) };
        *peer.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) = last.stamp;
        peer.pending.fetch_sub(rows.len(), Ordering::AcqRel);
        let value = Some(last.stamp.to_bytes().to_vec());
        // Not through the log: one that is lost means only that they are sent again.
        self.store.apply(&[Change { table: Table::Meta, key: key_of(&peer.name).into_bytes(), value }])
    }

    /// The age of the oldest write that a peer has not acknowledged.
    pub fn lag(&self, peer: &Progress) -> Result<Duration, Error> {
        let after = peer.acknowledged().to_bytes();
        let oldest = self.store.of(Table::Outbox).scan(Table::Outbox, &[], Some(&after), 1)?;
        let at = oldest.first().and_then(|(_, row)| serde_json::from_slice(row).ok()).map(|row: Sent<Key>| row.at);
        Ok(at.map_or(Duration::ZERO, |at| Duration::from_millis(milliseconds().saturating_sub(at))))
    }

    /// Removes what all have acknowledged.
    pub fn trim(&self) -> Result<(), Error> {
        let Some(all) = self.peers.iter().map(|peer| peer.acknowledged()).min() else { return Ok(()) };
        let is_done = |stamp: &[u8]| Stamp::from_bytes(stamp).is_some_and(|stamp| stamp <= all);
        let first = |limit| self.store.of(Table::Outbox).scan(Table::Outbox, &[], None, limit);
        // While a peer is away, nothing is done and there is much.
        if !first(1)?.iter().any(|(stamp, _)| is_done(stamp)) {
            return Ok(());
        }
        let done = first(TRIM)?.into_iter().take_while(|(stamp, _)| is_done(stamp));
        let changes: Vec<Change> = done.map(|(key, _)| Change { table: Table::Outbox, key, value: None }).collect();
        self.store.apply(&changes)
    }
}

/// Under which key of the store's own matters a peer's last acknowledgement is.
fn key_of(peer: &str) -> String {
    format!("acknowledged/{peer}")
}
