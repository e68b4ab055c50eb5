//! The store as one of several: every change has a stamp, the later one wins, and what a peer has not acknowledged is remembered.
//!
//! Stamps are stored beside what they are of, those of removed keys too (they are kept for ever: nothing here forgets a removal that a node
//! may not have heard of yet). The outbox has a row for each write of this node, in the order of stamps, until all peers have acknowledged it.

mod clock;
pub mod merkle;
mod outbox;
mod record;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use clock::{Clock, Stamp, milliseconds};
pub use merkle::{Path, Tree};
pub use outbox::{BATCH_BYTES, Progress, Row};
pub use record::{Entry, Key, Record, Version, decode, encode};

use crate::storage::{Change, Error, Store, Table};

/// Under which key of the store's own matters the last time is.
const CLOCK: &str = "clock";
/// Rows that are read at once where there may be many.
const PAGE: usize = 10_000;
/// Where stamps are.
const VERSIONS: [Table; 2] = [Table::LogVersions, Table::TreeVersions];

/// This node and its peers by their names.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// This node.
    pub name: String,
    /// The others that there should be.
    pub peers: Vec<String>,
}

/// The number in the stamps of a node: its name's checksum.
#[must_use]
pub fn number_of(name: &str) -> u32 {
    crc32fast::hash(name.as_bytes())
}

/// The store, its versions, and what its peers have of it.
pub struct Replica {
    store: Store,
    node: u32,
    clock: Clock,
    peers: Vec<Arc<Progress>>,
    /// Held while versions and values change, or must fit each other. There is no tree without peers.
    tree: Mutex<Option<Tree>>,
    /// Whether the store has not what the log has. It may have a part of it, and nothing is to be told of that.
    is_broken: AtomicBool,
}

impl Replica {
    /// Takes a store that is open. [`Replica::recovered`] is to follow.
    pub fn new(store: Store, membership: &Membership) -> Result<Self, Error> {
        let clock = Clock::default();
        let last = store.of(Table::Meta).get(Table::Meta, CLOCK.as_bytes())?;
        clock.seen(last.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))).unwrap_or(0));
        let peers = membership.peers.iter().map(|name| Ok(Arc::new(Progress::open(&store, name)?)));
        let peers = peers.collect::<Result<_, Error>>()?;
        Ok(Self {
            store,
            node: number_of(&membership.name),
            clock,
            peers,
            tree: Mutex::default(),
            is_broken: AtomicBool::new(false),
        })
    }

    /// Begins to follow what changes, once the log's entries have all been applied.
    pub fn recovered(&self) -> Result<(), Error> {
        if self.peers.is_empty() {
            return Ok(());
        }
        let mut tree = Tree::default();
        for table in VERSIONS {
            pages(&self.store, table, None, |key, stamp| {
                if let Some(version) = version_of(key, stamp) {
                    tree.toggle(&version);
                }
            })?;
        }
        for peer in &self.peers {
            peer.count(&self.store)?;
        }
        *self.lock() = Some(tree);
        Ok(())
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time and the node of a write that is made now.
    pub fn stamp(&self) -> Stamp {
        Stamp { time: self.clock.now(), node: self.node }
    }

    /// What each peer has.
    #[must_use]
    pub fn peers(&self) -> &[Arc<Progress>] {
        &self.peers
    }

    /// Makes changes where there are no later ones. The same again changes nothing. Where it fails, the store may have a part of them.
    pub fn apply(&self, entry: &Entry) -> Result<(), Error> {
        let mut tree = self.lock();
        let done = self.apply_to(&mut tree, entry);
        if done.is_err() {
            // Before anyone can read that part.
            self.break_off();
        }
        done
    }

    fn apply_to(&self, tree: &mut Option<Tree>, Entry { is_own, records }: &Entry) -> Result<(), Error> {
        let mut changes = Vec::with_capacity(2 * records.len());
        let mut latest: HashMap<&Key, Stamp> = HashMap::new();
        let mut own: BTreeMap<Stamp, Vec<&Key>> = BTreeMap::new();
        for Record { version, value } in records {
            self.clock.seen(version.stamp.time);
            let old =
                latest.get(&version.key).copied().map_or_else(|| self.stamp_of(&version.key), |old| Ok(Some(old)))?;
            if old.is_some_and(|old| old > version.stamp) {
                continue;
            }
            if let Some(tree) = tree {
                if let Some(stamp) = old {
                    tree.toggle(&Version { key: version.key.clone(), stamp });
                }
                tree.toggle(version);
            }
            latest.insert(&version.key, version.stamp);
            changes.push(Change {
                table: version.key.table,
                key: version.key.key.clone().into_bytes(),
                value: value.clone().map(String::into_bytes),
            });
            let stamp = Some(version.stamp.to_bytes().to_vec());
            changes.push(Change { table: version.key.table.versions(), key: row_of(&version.key), value: stamp });
            if *is_own && !self.peers.is_empty() {
                own.entry(version.stamp).or_default().push(&version.key);
            }
        }
        changes.extend(own.iter().map(|(stamp, keys)| outbox::row(*stamp, keys)));
        self.store.apply(&changes)?;
        // Before anyone can read the records that the rows name.
        for peer in &self.peers {
            peer.more(own.keys());
        }
        Ok(())
    }

    /// The store has not what the log has, until a restart.
    pub fn break_off(&self) {
        self.is_broken.store(true, Ordering::Release);
    }

    /// Whether the store has not what the log has.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// Has the clock written, for the next life. To be made durable by a flush of the store.
    pub fn keep_clock(&self) -> Result<(), Error> {
        let value = Some(self.clock.last().to_be_bytes().to_vec());
        self.store.apply(&[Change { table: Table::Meta, key: CLOCK.into(), value }])
    }

    /// Hashes of what is below a path; nothing without peers, or below a leaf.
    #[must_use]
    pub fn hashes(&self, path: Path) -> Option<Vec<u128>> {
        let tree = self.lock();
        let hashes: Vec<u128> =
            path.children().map(|child| tree.as_ref().map(|tree| tree.hash(child))).collect::<Option<_>>()?;
        (!hashes.is_empty()).then_some(hashes)
    }

    /// The versions below a leaf.
    pub fn versions(&self, leaf: u16) -> Result<Vec<Version>, Error> {
        let mut versions = Vec::new();
        for table in VERSIONS {
            let rows = self.store.of(table).scan(table, &leaf.to_be_bytes(), None, usize::MAX)?;
            versions.extend(rows.iter().filter_map(|(key, stamp)| version_of(key, stamp)));
        }
        Ok(versions)
    }

    /// Records as they are now; those are left out of which nothing is known.
    pub fn records(&self, keys: &[Key]) -> Result<Vec<Record>, Error> {
        keys.iter().filter_map(|key| self.record(key).transpose()).collect()
    }

    fn record(&self, key: &Key) -> Result<Option<Record>, Error> {
        let _still = self.lock();
        let Some(stamp) = self.stamp_of(key)? else { return Ok(None) };
        let value = self.store.of(key.table).get(key.table, key.key.as_bytes())?;
        // What was written was text.
        let value = value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Some(Record { version: Version { key: key.clone(), stamp }, value }))
    }

    fn stamp_of(&self, key: &Key) -> Result<Option<Stamp>, Error> {
        let table = key.table.versions();
        let stamp = self.store.of(table).get(table, &row_of(key))?;
        Ok(stamp.and_then(|bytes| Stamp::from_bytes(&bytes)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tree>> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at all rows of a table after one of them, page by page.
fn pages(store: &Store, table: Table, after: Option<&[u8]>, mut look: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
    let mut after = after.map(<[u8]>::to_vec);
    loop {
        let page = store.of(table).scan(table, &[], after.as_deref(), PAGE)?;
        for (key, value) in &page {
            look(key, value);
        }
        let Some((last, _)) = page.into_iter().next_back() else { return Ok(()) };
        after = Some(last);
    }
}

/// The key of a version in the store: its leaf, table and key, so that a leaf's versions are neighbours.
fn row_of(key: &Key) -> Vec<u8> {
    let mut row = merkle::bucket(key).to_be_bytes().to_vec();
    row.push(key.table.number());
    row.extend_from_slice(key.key.as_bytes());
    row
}

fn version_of(row: &[u8], stamp: &[u8]) -> Option<Version> {
    let (table, key) = row.get(2..)?.split_first()?;
    let key = Key { table: Table::numbered(*table)?, key: String::from_utf8(key.to_vec()).ok()? };
    Some(Version { key, stamp: Stamp::from_bytes(stamp)? })
}
