//! The cluster as a node sees it: members, gossip, replication, comparisons with peers.

use prometheus::{Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec};

use crate::catalog::Id;
use crate::families::{Error, Families, OneGauge};
use crate::labels::{Direction, Label, NodeState, SyncOutcome};

/// Metrics of the cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    nodes: GaugeVec,
    expected: OneGauge,
    quorum: OneGauge,
    joins: IntCounter,
    gossip: IntCounterVec,
    lag: GaugeVec,
    pending: GaugeVec,
    syncs: IntCounterVec,
    diff: Histogram,
    converged: GaugeVec,
}

impl Cluster {
    pub(crate) fn new(families: &Families) -> Result<Self, Error> {
        Ok(Self {
            nodes: families.gauges(Id::ClusterNodes)?,
            expected: families.gauge(Id::ClusterExpected)?,
            quorum: families.gauge(Id::ClusterQuorum)?,
            joins: families.counter(Id::ClusterJoins)?,
            gossip: families.counters(Id::GossipMessages)?,
            lag: families.gauges(Id::ReplicationLag)?,
            pending: families.gauges(Id::ReplicationPending)?,
            syncs: families.counters(Id::SyncOperations)?,
            diff: families.histogram(Id::MerkleDiff)?,
            converged: families.gauges(Id::Converged)?,
        })
    }

    /// How many nodes are in each state, this one included, and how many there should be. The quorum follows.
    pub fn members(&self, count: impl Fn(NodeState) -> usize, expected: usize) {
        for state in NodeState::ALL {
            self.nodes.with_label_values(&[state.as_str()]).set(count(*state) as f64);
        }
        self.expected.set(expected as f64);
        self.quorum.set(flag(2 * count(NodeState::Alive) > expected));
    }

    /// A node has joined, or has come back.
    pub fn joined(&self) {
        self.joins.inc();
    }

    /// The handle for datagrams of the membership protocol in one direction.
    pub fn gossip(&self, direction: Direction) -> IntCounter {
        self.gossip.with_label_values(&[direction.as_str()])
    }

    /// The handles for one peer.
    pub fn peer(&self, name: &str) -> Peer {
        Peer {
            lag: self.lag.with_label_values(&[name]),
            pending: self.pending.with_label_values(&[name]),
            converged: self.converged.with_label_values(&[name]),
            outcomes: SyncOutcome::ALL.iter().map(|one| self.syncs.with_label_values(&[name, one.as_str()])).collect(),
            diff: self.diff.clone(),
        }
    }
}

/// Metrics of one peer.
#[derive(Clone, Debug)]
pub struct Peer {
    lag: Gauge,
    pending: Gauge,
    converged: Gauge,
    outcomes: Vec<IntCounter>,
    diff: Histogram,
}

impl Peer {
    /// What the peer has not acknowledged: how many writes, and the age of the oldest in seconds.
    pub fn behind(&self, entries: usize, seconds: f64) {
        self.pending.set(entries as f64);
        self.lag.set(seconds);
    }

    /// A comparison with the peer has ended; `differed` entries did.
    pub fn compared(&self, outcome: SyncOutcome, differed: usize) {
        self.outcomes[outcome as usize].inc();
        if outcome != SyncOutcome::Failed {
            self.diff.observe(differed as f64);
        }
        self.converged.set(flag(outcome == SyncOutcome::Equal));
    }
}

/// A gauge that is 1 or 0.
fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
