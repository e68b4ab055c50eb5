//! What a node knows of its peers, for people and for tests: the metrics say the same.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Serialize, Serializer};
use stemedb_metrics::{Label, NodeState, SyncOutcome};

use super::Config;

/// What is known of one peer.
#[derive(Debug, Clone, Serialize)]
pub struct PeerView {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// How it is, by the gossip.
    #[serde(serialize_with = "label")]
    pub state: NodeState,
    /// Writes of this node that it has not acknowledged.
    pub pending: usize,
    /// The age of the oldest of them.
    pub lag_seconds: f64,
    /// What came of the last comparison.
    #[serde(serialize_with = "optional_label")]
    pub compared: Option<SyncOutcome>,
    /// What went wrong when this node last asked it something; nothing after an answer.
    pub error: Option<String>,
}

/// A node's view of its cluster.
#[derive(Debug)]
pub struct View {
    /// The node.
    pub name: String,
    /// What the nodes of the cluster know each other by.
    pub secret: Option<Arc<str>>,
    peers: Mutex<Vec<PeerView>>,
}

impl View {
    /// Before anything is known: nobody has answered yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let peer = |peer: &super::Node| PeerView {
            name: peer.name.clone(),
            address: peer.address,
            state: NodeState::Dead,
            pending: 0,
            lag_seconds: 0.0,
            compared: None,
            error: None,
        };
        let secret = config.secret.clone();
        Self { name: config.node.name.clone(), secret, peers: Mutex::new(config.peers.iter().map(peer).collect()) }
    }

    /// The peers as they are now.
    pub fn peers(&self) -> Vec<PeerView> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut PeerView)) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.iter_mut().find(|peer| peer.name == name) {
            change(peer);
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
fn label<L: Label, S: Serializer>(label: &L, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(label.as_str())
}

#[allow(clippy::ref_option, reason = "serde hands fields by reference")]
fn optional_label<L: Label, S: Serializer>(label: &Option<L>, serializer: S) -> Result<S::Ok, S::Error> {
    label.map(Label::as_str).serialize(serializer)
}
