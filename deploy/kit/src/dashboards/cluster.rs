//! Cluster Overview: who is there, who is behind, do all have the same.

use stemedb_metrics::catalog::Id as Node;

use super::model::Board;
use super::panel::{Shape, panel};
use super::{OF_NODE, YES_OR_NO, of_nodes, quantile, rate, with};
use crate::alerts::thresholds::{LAG_CRITICAL, LAG_WARNING, MEMORY_MUCH, NEARLY_FULL};
use crate::names::node;
use crate::promql::memory;

pub(super) fn board() -> Board {
    let nodes = with(OF_NODE, "");
    Board {
        uid: "stemedb-cluster",
        title: "StemeDB: Cluster Overview",
        about: "Which nodes see which, what they have not told each other yet, and whether they have the same.",
        refresh: "10s",
        variables: of_nodes(),
        rows: vec![
            ("Nodes", vec![
                panel("Alive", Shape::Figure, "short", "The fewest that a node sees alive.")
                    .ask(format!("min({}{})", node(Node::ClusterNodes), with(OF_NODE, "state=\"alive\"")), "alive").wide(4).runbooks(&["ClusterNodeMissing"]),
                panel("Suspect", Shape::Figure, "short", "The most that a node suspects.")
                    .ask(format!("max({}{})", node(Node::ClusterNodes), with(OF_NODE, "state=\"suspect\"")), "suspect")
                    .coloured(&[(1.0, "orange")]).wide(4),
                panel("Dead", Shape::Figure, "short", "The most that a node takes for dead.")
                    .ask(format!("max({}{})", node(Node::ClusterNodes), with(OF_NODE, "state=\"dead\"")), "dead")
                    .coloured(&[(1.0, "red")]).wide(4).runbooks(&["StemeDBAPIDown"]),
                panel("Quorum", Shape::Timeline, "short", "Whether a node sees more than half of its cluster. Two sides without one, or one: a split brain.")
                    .ask(format!("{}{nodes}", node(Node::ClusterQuorum)), "{{instance}}").coloured(&[(0.0, "red"), (1.0, "green")]).words(YES_OR_NO).runbooks(&["ClusterSplitBrain"]),
                panel("Node status", Shape::Lines, "short", "Nodes by state, as the node sees it that sees most of them so.")
                    .ask(format!("max by (state) ({}{nodes})", node(Node::ClusterNodes)), "{{state}}")
                    .series(&[("^alive$", "green"), ("^suspect$", "orange"), ("^dead$", "red")]),
                panel("Joins", Shape::Lines, "short", "Nodes that joined or came back.")
                    .ask(format!("sum by (instance) (increase({}{nodes}[$__rate_interval]))", node(Node::ClusterJoins)), "{{instance}}")
                    .runbooks(&["NewNodeJoined"]),
            ]),
            ("Replication", vec![
                panel("Replication lag by peer", Shape::Lines, "s", "The age of the oldest write that the peer has not acknowledged.")
                    .ask(format!("max by (instance, peer) ({}{nodes})", node(Node::ReplicationLag)), "{{instance}} → {{peer}}")
                    .coloured(&[(LAG_WARNING, "orange"), (LAG_CRITICAL, "red")]).runbooks(&["ReplicationLagCritical", "ReplicationLagWarning"]),
                panel("Writes that wait", Shape::Lines, "short", "What the peer has not acknowledged.")
                    .ask(format!("sum by (instance, peer) ({}{nodes})", node(Node::ReplicationPending)), "{{instance}} → {{peer}}"),
                panel("Sync operations", Shape::Lines, "ops", "Comparisons by Merkle trees, by what came of them.")
                    .ask(rate(&node(Node::SyncOperations), &nodes, "outcome"), "{{outcome}}"),
                panel("Merkle diff size", Shape::Lines, "short", "Records that differed in a comparison.")
                    .ask(quantile(0.5, &node(Node::MerkleDiff), &nodes, ""), "p50")
                    .ask(quantile(0.99, &node(Node::MerkleDiff), &nodes, ""), "p99"),
                panel("Converged", Shape::Timeline, "short", "Whether the last comparison of two nodes found no difference.")
                    .ask(format!("min by (instance, peer) ({}{nodes})", node(Node::Converged)), "{{instance}} = {{peer}}").coloured(&[(0.0, "red"), (1.0, "green")]).words(YES_OR_NO),
                panel("Gossip messages", Shape::Lines, "ops", "Datagrams of the membership protocol.")
                    .ask(rate(&node(Node::GossipMessages), &nodes, "direction"), "{{direction}}"),
            ]),
            ("Machines", vec![
                panel("Memory", Shape::Lines, "percentunit", "What a node has of the memory that it may have, by its control group or its machine.")
                    .ask(memory(&nodes), "{{instance}}")
                    .coloured(&[(MEMORY_MUCH, "orange"), (NEARLY_FULL, "red")]).wide(24).runbooks(&["MemoryExhaustion", "HighMemoryUsage"]),
            ]),
        ],
    }
}
