//! What the node does: votes on claims, weighed by the trust in those who vote.

mod breaker;
mod error;
mod journal;
mod keys;
mod peers;
mod votes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stemedb_metrics::{Label as _, Lookups, Metrics};

pub use error::Error;
pub use journal::Journal;
pub use keys::{ApiKey, NewKey};
pub use peers::MAX_RECORDS;
pub use votes::{Cast, Tally};

use crate::model::{Agent, Claim, Gold, MAX_PAGE, Vote, check_id};
use crate::replica::{Key, Membership, Replica, milliseconds};
use crate::storage::{self, Index, OpenError, Store, Table};
use crate::wal;
use breaker::Breakers;
use journal::Edit;

/// By how much of its distance to neutral trust decays at once.
const DECAY: f64 = 0.1;
/// Changes of one entry of the log, where there are many.
const CHUNK: usize = 500;

/// Bytes of one answer with many items, about: who wants more asks again, after the last one.
const PAGE_BYTES: usize = 1 << 20;

/// Where the node's data is, and how it is kept.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Segments of the log.
    pub wal: PathBuf,
    /// A segment of at least so many bytes is the last one no longer.
    pub segment_bytes: u64,
    /// The storage engines' files.
    pub store: PathBuf,
}

impl Folders {
    /// In one folder.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        Self { wal: folder.join("wal"), segment_bytes: 8 << 20, store: folder.join("store") }
    }
}

/// A node without its API.
pub struct Service {
    journal: Journal,
    metrics: Metrics,
    breakers: Mutex<Breakers>,
    /// Held while what is written depends on what was read.
    change: tokio::sync::Mutex<()>,
    /// API keys that metrics tell of.
    known_keys: Mutex<BTreeSet<String>>,
    by_agent: Lookups,
    by_claim: Lookups,
}

/// When a chore was last done, in milliseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    at: u64,
}

/// The decay of trust among the chores.
const TRUST_DECAY: &str = "trust-decay";

/// The node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The storage.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The log, or what is in it.
    #[error(transparent)]
    Service(#[from] Error),
}

impl Service {
    /// Opens what is there, and recovers; a node without peers.
    pub fn open(folders: &Folders, metrics: &Metrics) -> Result<Arc<Self>, StartError> {
        Self::open_as(&Membership::default(), folders, metrics)
    }

    /// The same for a node of a cluster.
    pub fn open_as(membership: &Membership, folders: &Folders, metrics: &Metrics) -> Result<Arc<Self>, StartError> {
        let store = Store::open(&storage::Options::new(&folders.store), metrics)?;
        let replica = Replica::new(store, membership).map_err(Error::from)?;
        let options = wal::Options { segment_bytes: folders.segment_bytes, ..wal::Options::new(&folders.wal) };
        let journal = Journal::open(&options, replica, metrics)?;
        let service = Self {
            journal,
            metrics: metrics.clone(),
            breakers: Mutex::default(),
            change: tokio::sync::Mutex::default(),
            known_keys: Mutex::default(),
            by_agent: metrics.storage.index(Index::VotesByAgent),
            by_claim: metrics.storage.index(Index::VotesByClaim),
        };
        service.measure()?;
        Ok(Arc::new(service))
    }

    /// The log and the store, for their figures.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Brings the gauges up to date that follow from what is stored.
    pub fn measure(&self) -> Result<(), Error> {
        self.metrics.domain.gold_standards(self.count(Table::Gold)?);
        self.metrics.domain.quarantined(self.count(Table::Quarantine)?);
        if let Some(at) = self.decayed()? {
            self.metrics.domain.trust_decayed(at);
        }
        self.measure_keys()?;
        self.measure_breakers();
        Ok(())
    }

    /// Brings those of the breakers up to date: one that is half open grows older by itself.
    pub fn measure_breakers(&self) {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.forget(Instant::now());
        let half_open = breakers.half_open(Instant::now()).as_secs_f64();
        self.metrics.domain.breakers(|state| breakers.count(state), half_open);
    }

    fn count(&self, table: Table) -> Result<usize, Error> {
        Ok(usize::try_from(self.journal.store().of(table).count(table)?).unwrap_or(usize::MAX))
    }

    fn get<T: DeserializeOwned>(&self, table: Table, id: &str) -> Result<Option<T>, Error> {
        let found = self.journal.store().of(table).get(table, id.as_bytes())?;
        found.map(|bytes| read(table, &bytes)).transpose()
    }

    /// Items of a table in the order of their ids.
    fn list<T: DeserializeOwned>(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, T)>, Error> {
        let pairs = self.journal.store().of(table).scan(table, &[], after.map(str::as_bytes), limit)?;
        let pairs = within(pairs.into_iter(), |(_, value)| value.len());
        pairs.map(|(key, value)| Ok((text(&key), read(table, &value)?))).collect()
    }

    /// All items of a table, of which there are few.
    fn all<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<(String, T)>, Error> {
        let mut all: Vec<(String, T)> = Vec::new();
        loop {
            let page = self.list(table, all.last().map(|(id, _)| id.as_str()), MAX_PAGE)?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Stores something by its id.
    async fn put<T: Serialize>(&self, table: Table, id: &str, what: &T) -> Result<(), Error> {
        check_id("id", id)?;
        self.journal.write(vec![edit(table, id, what)?]).await
    }

    /// Removes something that is there.
    async fn remove<T: DeserializeOwned>(&self, table: Table, what: &'static str, id: &str) -> Result<T, Error> {
        let _change = self.change.lock().await;
        let found = self.get(table, id)?.ok_or_else(|| not_found(what, id))?;
        self.journal.write(vec![removal(table, id)]).await?;
        Ok(found)
    }

    /// Stores a claim.
    pub async fn put_claim(&self, id: &str, claim: &Claim) -> Result<(), Error> {
        claim.check()?;
        self.put(Table::Claims, id, claim).await
    }

    /// A claim.
    pub fn claim(&self, id: &str) -> Result<Claim, Error> {
        self.get(Table::Claims, id)?.ok_or_else(|| not_found("claim", id))
    }

    /// Claims in the order of their ids.
    pub fn claims(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Claim)>, Error> {
        self.list(Table::Claims, after, limit)
    }

    /// Removes a claim; votes on it stay.
    pub async fn remove_claim(&self, id: &str) -> Result<Claim, Error> {
        self.remove(Table::Claims, "claim", id).await
    }

    /// Stores an agent.
    pub async fn put_agent(&self, id: &str, agent: &Agent) -> Result<(), Error> {
        agent.check()?;
        let _change = self.change.lock().await;
        self.put(Table::Agents, id, agent).await
    }

    /// An agent; one of which nothing is stored is neutral.
    pub fn agent(&self, id: &str) -> Result<Agent, Error> {
        Ok(self.get(Table::Agents, id)?.unwrap_or_default())
    }

    /// Agents in the order of their ids.
    pub fn agents(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Agent)>, Error> {
        self.list(Table::Agents, after, limit)
    }

    /// Says which choice of a claim is right.
    pub async fn put_gold(&self, claim: &str, gold: Gold) -> Result<(), Error> {
        self.check_choice(claim, gold.choice)?;
        self.put(Table::Gold, claim, &gold).await?;
        self.measure()
    }

    /// Gold standards in the order of their claims.
    pub fn gold(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Gold)>, Error> {
        self.list(Table::Gold, after, limit)
    }

    /// Removes a gold standard.
    pub async fn remove_gold(&self, claim: &str) -> Result<Gold, Error> {
        let gold = self.remove(Table::Gold, "gold standard", claim).await?;
        self.measure()?;
        Ok(gold)
    }

    /// Votes that are held back.
    pub fn quarantine(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Vote)>, Error> {
        self.list(Table::Quarantine, after, limit)
    }

    /// Lets every agent's trust decay, and gives their number.
    pub async fn decay(&self) -> Result<usize, Error> {
        let _change = self.change.lock().await;
        let agents: Vec<(String, Agent)> = self.all(Table::Agents)?;
        for some in agents.chunks(CHUNK) {
            let edits = some.iter().map(|(id, agent)| {
                let trust = agent.trust + (Agent::NEUTRAL - agent.trust) * DECAY;
                edit(Table::Agents, id, &Agent { trust })
            });
            self.journal.write(edits.collect::<Result<_, _>>()?).await?;
        }
        let done = Done { at: milliseconds() };
        self.journal.write(vec![edit(Table::Chores, TRUST_DECAY, &done)?]).await?;
        self.measure()?;
        Ok(agents.len())
    }

    /// When trust last decayed, at whichever node.
    pub fn decayed(&self) -> Result<Option<SystemTime>, Error> {
        let done: Option<Done> = self.get(Table::Chores, TRUST_DECAY)?;
        Ok(done.and_then(|done| UNIX_EPOCH.checked_add(Duration::from_millis(done.at))))
    }

    fn check_choice(&self, claim: &str, choice: u8) -> Result<(), Error> {
        let choices = self.claim(claim)?.choices;
        if choice >= choices {
            let why = format!("the claim {claim} has only {choices} choices, from 0");
            return Err(crate::model::Invalid::new("choice", why).into());
        }
        Ok(())
    }
}

/// The first items that have together about [`PAGE_BYTES`], but at least one.
fn within<T>(items: impl Iterator<Item = T>, size: impl Fn(&T) -> usize) -> impl Iterator<Item = T> {
    let mut bytes = 0;
    items.take_while(move |item| {
        let has_place = bytes < PAGE_BYTES;
        bytes += size(item);
        has_place
    })
}

fn not_found(what: &'static str, id: &str) -> Error {
    Error::NotFound { what, id: id.to_owned() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Unreadable { table: table.as_str(), why: error.to_string() })
}

fn edit<T: Serialize>(table: Table, id: &str, what: &T) -> Result<Edit, Error> {
    let value = serde_json::to_string(what);
    let value = value.map_err(|error| Error::Unreadable { table: table.as_str(), why: error.to_string() })?;
    Ok(Edit { key: Key { table, key: id.to_owned() }, value: Some(value) })
}

fn removal(table: Table, id: &str) -> Edit {
    Edit { key: Key { table, key: id.to_owned() }, value: None }
}
