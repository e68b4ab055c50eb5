//! Names of metrics, from the catalogues: a metric that is renamed is renamed here, and one that is no more does not compile.

use stemedb_ebpf::ops::{Family, OPS};
use stemedb_metrics::NAMESPACE;
use stemedb_metrics::catalog::{self as node, metric};
use stemedb_probe::catalog as agent;

/// The scrape job of the nodes.
pub const NODE_JOB: &str = "stemedb";
/// The scrape job of the agents.
pub const AGENT_JOB: &str = "stemedb-probe";

/// A metric of the node.
#[must_use]
pub fn node(id: node::Id) -> String {
    format!("{NAMESPACE}_{}", metric(id).name)
}

/// A metric of the agent: of files, that of class `wal`.
#[must_use]
pub fn agent(id: agent::Id) -> String {
    of_agent(id, 0)
}

/// A metric of the agent that is about files of another class than `wal`.
#[must_use]
pub fn file(id: agent::Id) -> String {
    of_agent(id, 1)
}

fn of_agent(id: agent::Id, place: usize) -> String {
    let row = agent::METRICS.iter().find(|row| row.id == id);
    let name = row.and_then(|row| row.names(NAMESPACE).into_iter().nth(place));
    // What has no second name is not about files: the checks would not find the first.
    name.map_or_else(|| format!("{id:?}"), |(name, _)| name)
}

/// Errnos of calls that were wrong, or are to be made once more: nothing is lost by them (fsync(2), msync(2), io_uring_enter(2)).
const HARMLESS: &str = "EAGAIN|EBADF|ECANCELED|EINTR|EINVAL|ESPIPE";

/// A selector of syncs that failed, though they should not have; and of those with more errnos that are harmless.
#[must_use]
pub fn failed_syncs(more: &str) -> String {
    format!("{{{}, error!~\"{HARMLESS}{more}\"}}", of_syncs())
}

/// A matcher of all operations that sync.
#[must_use]
pub fn of_syncs() -> String {
    let syncs = OPS.iter().filter(|op| op.family == Family::Sync);
    format!("op=~\"{}\"", syncs.map(|op| op.name).collect::<Vec<_>>().join("|"))
}
