//! A hybrid store: what is written all the time is in a log-structured engine, what is mostly read in a B-tree, both behind one trait and
//! measured alike.
//!
//! Neither is synced for each change: the write-ahead log is. [`Store::flush`] makes both durable, after which the log may forget
//! what came before.

mod btree;
mod log_structured;
mod measured;

use std::path::{Path, PathBuf};

use stemedb_metrics::{Cache, Compaction, Label as _, Metrics, label_values};

use measured::Measured;

label_values! {
    /// The engines.
    pub enum Engine {
        /// fjall, a log-structured merge tree.
        LogStructured = "fjall",
        /// redb, a B-tree.
        BTree = "redb",
    }
}

label_values! {
    /// Secondary indexes.
    pub enum Index {
        /// Votes of an agent.
        VotesByAgent = "votes_by_agent",
        /// Votes on a claim.
        VotesByClaim = "votes_by_claim",
    }
}

label_values! {
    /// What is stored, each by itself. The text is the name on the disk.
    pub enum Table {
        /// Votes by their ids.
        Votes = "votes",
        /// Agent, then vote; empty values.
        VotesByAgent = "votes_by_agent",
        /// Claim, then vote; empty values.
        VotesByClaim = "votes_by_claim",
        /// Claims by their ids.
        Claims = "claims",
        /// Agents by their ids.
        Agents = "agents",
        /// Gold standards by their claims.
        Gold = "gold",
        /// Votes that are held back, by their ids.
        Quarantine = "quarantine",
        /// API keys by their names.
        Keys = "keys",
        /// When the node's chores were last done, by their names.
        Chores = "chores",
        /// The store's own matters.
        Meta = "meta",
        /// The stamp of each key of the shared tables in the log-structured engine.
        LogVersions = "log_versions",
        /// The same of those in the B-tree: a stamp is where its value is, so that neither is durable without the other.
        TreeVersions = "tree_versions",
        /// Writes of this node that a peer has not acknowledged.
        Outbox = "outbox",
    }
}

impl Table {
    /// The engine that has it.
    #[must_use]
    pub fn engine(self) -> Engine {
        match self {
            Self::Votes | Self::VotesByAgent | Self::VotesByClaim | Self::LogVersions | Self::Outbox => {
                Engine::LogStructured
            }
            Self::Claims
            | Self::Agents
            | Self::Gold
            | Self::Quarantine
            | Self::Keys
            | Self::Chores
            | Self::Meta
            | Self::TreeVersions => Engine::BTree,
        }
    }

    /// Whether it is the same at all nodes, sooner or later.
    #[must_use]
    pub fn is_shared(self) -> bool {
        !matches!(self, Self::Meta | Self::LogVersions | Self::TreeVersions | Self::Outbox)
    }

    /// The table of the stamps of its keys.
    #[must_use]
    pub fn versions(self) -> Self {
        match self.engine() {
            Engine::LogStructured => Self::LogVersions,
            Engine::BTree => Self::TreeVersions,
        }
    }

    /// Its number on the disk.
    #[must_use]
    pub fn number(self) -> u8 {
        // The variants are without values of their own, and fewer than 256.
        self as u8
    }

    /// The table of a number.
    #[must_use]
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A change of one key; without a value the key is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub table: Table,
    /// Which key.
    pub key: Vec<u8>,
    /// What it has from here on.
    pub value: Option<Vec<u8>>,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An engine has failed.
#[derive(Debug, thiserror::Error)]
#[error("{engine:?} in {path}: {why}")]
pub struct Error {
    engine: Engine,
    path: PathBuf,
    why: String,
}

impl Error {
    fn of(engine: Engine, path: &Path) -> impl Fn(String) -> Self {
        let path = path.to_owned();
        move |why| Self { engine, path: path.clone(), why }
    }
}

/// What an engine does. Reads see all changes that were applied before.
pub trait Backend: Send + Sync {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The first keys that begin with a prefix and come after another key, in order.
    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, Error>;

    /// How many keys a table has.
    fn count(&self, table: Table) -> Result<u64, Error>;

    /// Makes changes, all or none.
    fn apply(&self, changes: &[&Change]) -> Result<(), Error>;

    /// Makes everything durable.
    fn flush(&self) -> Result<(), Error>;

    /// What the engine says of its cache.
    fn cache(&self) -> Cache;

    /// What the engine says of its compactions, where it has any by itself.
    fn compaction(&self) -> Option<Compaction>;
}

/// How the store is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder; made where it is not there.
    pub folder: PathBuf,
    /// Bytes of the cache of each engine.
    pub cache_bytes: usize,
    /// A table in memory of so many bytes is written out.
    pub memtable_bytes: u64,
}

impl Options {
    /// In a folder, with sizes for a server.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), cache_bytes: 32 << 20, memtable_bytes: 8 << 20 }
    }
}

/// Both engines.
pub struct Store {
    log: Measured<log_structured::Log>,
    tree: Measured<btree::Tree>,
}

impl Store {
    /// Opens or makes the store, and has its engines' figures exported.
    pub fn open(options: &Options, metrics: &Metrics) -> Result<Self, OpenError> {
        let log = log_structured::Log::open(&options.folder.join("fjall"), options)?;
        let tree = btree::Tree::open(&options.folder.join("redb"), options)?;
        Ok(Self {
            log: Measured::new(log, Engine::LogStructured, metrics)?,
            tree: Measured::new(tree, Engine::BTree, metrics)?,
        })
    }

    /// The engine that has a table.
    #[must_use]
    pub fn of(&self, table: Table) -> &dyn Backend {
        self.engine(table.engine())
    }

    /// One of the engines.
    #[must_use]
    pub fn engine(&self, engine: Engine) -> &dyn Backend {
        match engine {
            Engine::LogStructured => &self.log,
            Engine::BTree => &self.tree,
        }
    }

    /// Makes changes: all of one engine or none. Of both, a crash between the two leaves the second to the log's recovery, which makes them all again.
    pub fn apply(&self, changes: &[Change]) -> Result<(), Error> {
        for engine in [Engine::LogStructured, Engine::BTree] {
            let of_it: Vec<&Change> = changes.iter().filter(|change| change.table.engine() == engine).collect();
            if !of_it.is_empty() {
                self.engine(engine).apply(&of_it)?;
            }
        }
        Ok(())
    }

    /// Makes everything durable.
    pub fn flush(&self) -> Result<(), Error> {
        self.log.flush()?;
        self.tree.flush()
    }
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An engine.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] stemedb_metrics::Error),
}
