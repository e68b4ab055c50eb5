//! Several nodes: who is there (SWIM, by the crate foca), what they have not got of each other's writes, and whether they have the same.
//!
//! Every node takes writes, also one that is cut off from the others; of two changes of one thing the later wins, everywhere. So a partition
//! costs no write, and the two sides differ until it is healed.

mod client;
mod gossip;
mod peer;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use stemedb_metrics::{Metrics, NodeState};
use tokio::net::UdpSocket;

pub use view::{PeerView, View};

use crate::model::check_id;
use crate::replica::{Membership, number_of};
use crate::service::Service;

/// A node and where it is: HTTP by TCP and gossip by UDP at the same address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, by which metrics know it.
    pub name: String,
    /// Where the others find it.
    pub address: SocketAddr,
}

impl std::str::FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').ok_or("must be NAME=ADDRESS:PORT")?;
        check_id("the name", name).map_err(|error| error.to_string())?;
        let address =
            address.parse().map_err(|_| format!("{address} is no address with a port, as in 127.0.0.1:18181"))?;
        Ok(Self { name: name.to_owned(), address })
    }
}

/// Which nodes there should be.
#[derive(Debug, Clone)]
pub struct Config {
    /// This one.
    pub node: Node,
    /// The others; none where this is no cluster.
    pub peers: Vec<Node>,
    /// What they know each other by; needed where there are peers.
    pub secret: Option<Arc<str>>,
    /// How often each peer is compared with.
    pub compare_every: Duration,
}

impl Config {
    /// Whether these can be a cluster.
    pub fn check(&self) -> Result<()> {
        let all: Vec<&Node> = self.peers.iter().chain([&self.node]).collect();
        for (place, node) in all.iter().enumerate() {
            for other in &all[..place] {
                ensure!(node.name != other.name, "two nodes are called {}", node.name);
                ensure!(node.address != other.address, "{} and {} are at one address", node.name, other.name);
                let (one, two) = (number_of(&node.name), number_of(&other.name));
                ensure!(one != two, "{} and {} have the same checksum: choose another name", node.name, other.name);
            }
        }
        ensure!(
            self.peers.is_empty() || self.secret.is_some(),
            "nodes with peers need a secret by which they know each other"
        );
        if !self.peers.is_empty() && self.node.address.ip().is_unspecified() {
            bail!("a node with peers must listen where they find it, not on {}", self.node.address.ip());
        }
        Ok(())
    }

    /// The names.
    #[must_use]
    pub fn membership(&self) -> Membership {
        let peers = self.peers.iter().map(|peer| peer.name.clone()).collect();
        Membership { name: self.node.name.clone(), peers }
    }
}

/// A node's part in its cluster.
pub struct Cluster {
    service: Arc<Service>,
    metrics: Metrics,
    view: Arc<View>,
}

impl Cluster {
    /// Joins the others, where there are any.
    pub async fn start(config: &Config, service: Arc<Service>, metrics: &Metrics) -> Result<Self> {
        let view = Arc::new(View::new(config));
        if !config.peers.is_empty() {
            let socket = UdpSocket::bind(config.node.address).await;
            let socket = socket.with_context(|| format!("cannot listen for gossip on udp {}", config.node.address))?;
            // A life is later than the ones before, also where the machine's clock has gone back since.
            let life = service.journal().replica().clock().now();
            tokio::spawn(gossip::run(socket, life, config.clone(), view.clone(), metrics.cluster.clone()));
            for progress in service.journal().replica().peers() {
                let known = config.peers.iter().find(|peer| peer.name == progress.name());
                let address = known.context("a peer without an address")?.address;
                peer::start(peer::Peer {
                    client: client::Client::new(address, config.secret.as_deref().unwrap_or_default()),
                    progress: progress.clone(),
                    service: service.clone(),
                    metrics: metrics.cluster.peer(progress.name()),
                    errors: metrics.errors.clone(),
                    view: view.clone(),
                    runtime: tokio::runtime::Handle::current(),
                    compare_every: config.compare_every,
                })?;
            }
        }
        Ok(Self { service, metrics: metrics.clone(), view })
    }

    /// What is known of the peers.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Whether this node does what only one has to do: of those that are alive, the first by name, where they are more than half. One that is
    /// alone would undo what the others have done meanwhile.
    #[must_use]
    pub fn leads(&self) -> bool {
        let peers = self.view.peers();
        let alive = || peers.iter().filter(|peer| peer.state == NodeState::Alive);
        2 * (alive().count() + 1) > peers.len() + 1 && alive().all(|peer| peer.name > self.view.name)
    }

    /// Brings the gauges up to date that change by themselves.
    pub fn measure(&self) -> Result<(), crate::service::Error> {
        let replica = self.service.journal().replica();
        for progress in replica.peers() {
            let (pending, lag) = (progress.pending(), replica.lag(progress)?);
            self.metrics.cluster.peer(progress.name()).behind(pending, lag.as_secs_f64());
            self.view.change(progress.name(), |peer| (peer.pending, peer.lag_seconds) = (pending, lag.as_secs_f64()));
        }
        replica.trim()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_cluster_is_refused() {
        let node = |text: &str| text.parse::<Node>();
        assert_eq!(node("b=127.0.0.1:2").unwrap().name, "b");
        assert!(node("b").unwrap_err().contains("NAME="));
        assert!(node("b c=127.0.0.1:2").unwrap_err().contains("letters"));
        assert!(node("b=somewhere").unwrap_err().contains("no address"));
        let check = |own: &str, peers: &[&str]| {
            let peers = peers.iter().map(|peer| node(peer).unwrap()).collect();
            let secret = Some("secret".into());
            let config = Config { node: node(own).unwrap(), peers, secret, compare_every: Duration::ZERO };
            config.check().map_err(|error| error.to_string())
        };
        assert_eq!(check("a=127.0.0.1:1", &["b=127.0.0.1:2", "c=127.0.0.1:3"]), Ok(()));
        assert_eq!(check("a=0.0.0.0:1", &[]), Ok(()));
        assert!(check("a=127.0.0.1:1", &["a=127.0.0.1:2"]).unwrap_err().contains("called a"));
        assert!(check("a=127.0.0.1:1", &["b=127.0.0.1:1"]).unwrap_err().contains("one address"));
        assert!(check("a=0.0.0.0:1", &["b=127.0.0.1:1"]).unwrap_err().contains("not on 0.0.0.0"));
    }
}
