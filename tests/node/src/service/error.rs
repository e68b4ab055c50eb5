//! Every error of the service: what it counts as, and nothing of HTTP.

use stemedb_metrics::{Classify, Layer};

use crate::model::Invalid;
use crate::{storage, wal};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Input that is not what it should be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is no such thing.
    #[error("no {what} {id}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The agent's circuit breaker lets nothing pass.
    #[error("the votes of {agent} are refused for {seconds} s more: too many of them were wrong")]
    Tripped {
        /// Whose.
        agent: String,
        /// For so long.
        seconds: u64,
    },
    /// Whoever asks has none of the API keys that there are.
    #[error("this needs an API key, sent as `authorization: Bearer SECRET`")]
    Unauthorized,
    /// Whoever asks is no node of this cluster.
    #[error("only the nodes of this cluster may ask this")]
    NotAPeer,
    /// The write-ahead log.
    #[error(transparent)]
    Wal(#[from] wal::Error),
    /// The storage.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The storage has failed before, and has not what the log has.
    #[error("the storage has failed and is behind the log; restart the node, which makes up for it")]
    Behind,
    /// What is stored is not what was stored.
    #[error("what is stored of {table} cannot be read: {why}")]
    Unreadable {
        /// Where.
        table: &'static str,
        /// Why.
        why: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Wal(wal::Error::TooLarge { .. }) => "invalid_request",
            Self::NotFound { .. } => "not_found",
            Self::Tripped { .. } => "circuit_open",
            Self::Unauthorized => "unauthorized",
            Self::NotAPeer => "not_a_peer",
            Self::Wal(_) => "log_failed",
            Self::Storage(_) => "storage_failed",
            Self::Behind => "storage_behind",
            Self::Unreadable { .. } => "unreadable",
        }
    }

    fn layer(&self) -> Layer {
        match self {
            Self::Invalid(_) | Self::Wal(wal::Error::TooLarge { .. }) => Layer::Validation,
            Self::NotFound { .. } => Layer::Service,
            Self::Tripped { .. } => Layer::Limits,
            Self::Unauthorized | Self::NotAPeer => Layer::Auth,
            Self::Wal(_) => Layer::Wal,
            Self::Storage(_) | Self::Behind | Self::Unreadable { .. } => Layer::Storage,
        }
    }
}
