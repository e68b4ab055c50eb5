//! The cluster.

use stemedb_metrics::catalog::Id as Node;

use super::thresholds::{LAG_CRITICAL, LAG_WARNING};
use super::{Alert, Fires, Severity, Silent};
use crate::names::node;
use crate::promql::grown;

pub(super) fn alerts() -> Vec<Alert> {
    vec![
        cluster_split_brain(),
        cluster_node_missing(),
        replication_lag_critical(),
        replication_lag_warning(),
        new_node_joined(),
    ]
}

fn cluster_split_brain() -> Alert {
    Alert {
        name: "ClusterSplitBrain",
        severity: Severity::Critical,
        component: "cluster",
        subject: "quorum",
        expr: format!("{} == 0", node(Node::ClusterQuorum)),
        wait: "30s",
        keep: "0s",
        summary: "{{ $labels.instance }} sees no more than half of its cluster",
        description: "It takes writes that the others do not have. When it finds them again, the later of two changes wins.",
        fires: Fires {
            series: &[("stemedb_cluster_quorum{job=\"stemedb\", instance=\"a:18180\"}", "1 0x10")],
            not_yet: "30s",
            at: "1m",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "a:18180 sees no more than half of its cluster",
            description: "It takes writes that the others do not have. When it finds them again, the later of two changes wins.",
        },
        silent: Silent {
            series: &[("stemedb_cluster_quorum{job=\"stemedb\", instance=\"a:18180\"}", "0 1 0 1x10")],
            at: "4m",
        },
    }
}

/// Whoever has left what Prometheus discovers does not answer, and nothing asks: its peers know that it should be there.
fn cluster_node_missing() -> Alert {
    Alert {
        name: "ClusterNodeMissing",
        severity: Severity::Warning,
        component: "cluster",
        subject: "node-missing",
        expr: format!(
            "max by (job) ({}) - max by (job) ({}{{state=\"alive\"}}) > 0",
            node(Node::ClusterExpected),
            node(Node::ClusterNodes)
        ),
        wait: "10m",
        keep: "0s",
        summary: "{{ $labels.job }} has fewer nodes than it should",
        description: "{{ $value }} of its nodes are alive for none of the others. One more, and there may be no quorum.",
        fires: Fires {
            series: &[
                ("stemedb_cluster_nodes_expected{job=\"stemedb\", instance=\"a:18180\"}", "3x40"),
                ("stemedb_cluster_nodes{job=\"stemedb\", instance=\"a:18180\", state=\"alive\"}", "3 2x40"),
                ("stemedb_cluster_nodes{job=\"stemedb\", instance=\"a:18180\", state=\"dead\"}", "0 1x40"),
            ],
            not_yet: "10m",
            at: "10m30s",
            labels: &[("job", "stemedb")],
            summary: "stemedb has fewer nodes than it should",
            description: "1 of its nodes are alive for none of the others. One more, and there may be no quorum.",
        },
        silent: Silent {
            // All are alive for one of them.
            series: &[
                ("stemedb_cluster_nodes_expected{job=\"stemedb\", instance=\"a:18180\"}", "3x40"),
                ("stemedb_cluster_nodes{job=\"stemedb\", instance=\"a:18180\", state=\"alive\"}", "1x40"),
                ("stemedb_cluster_nodes_expected{job=\"stemedb\", instance=\"b:18180\"}", "3x40"),
                ("stemedb_cluster_nodes{job=\"stemedb\", instance=\"b:18180\", state=\"alive\"}", "3x40"),
            ],
            at: "19m",
        },
    }
}

fn replication_lag_critical() -> Alert {
    Alert {
        name: "ReplicationLagCritical",
        severity: Severity::Critical,
        component: "cluster",
        subject: "replication-lag",
        expr: format!("{} > {LAG_CRITICAL}", node(Node::ReplicationLag)),
        wait: "1m",
        keep: "0s",
        summary: "{{ $labels.peer }} is far behind {{ $labels.instance }}",
        description: "The oldest write of {{ $labels.instance }} that {{ $labels.peer }} has not acknowledged is {{ $value | humanizeDuration }} old.",
        fires: Fires {
            series: &[(
                "stemedb_replication_lag_seconds{job=\"stemedb\", instance=\"a:18180\", peer=\"node-2\"}",
                "0 301+30x10",
            )],
            not_yet: "1m",
            at: "1m30s",
            labels: &[("job", "stemedb"), ("instance", "a:18180"), ("peer", "node-2")],
            summary: "node-2 is far behind a:18180",
            description: "The oldest write of a:18180 that node-2 has not acknowledged is 6m 1s old.",
        },
        silent: Silent {
            series: &[(
                "stemedb_replication_lag_seconds{job=\"stemedb\", instance=\"a:18180\", peer=\"node-2\"}",
                "300x20",
            )],
            at: "9m",
        },
    }
}

fn replication_lag_warning() -> Alert {
    Alert {
        name: "ReplicationLagWarning",
        severity: Severity::Warning,
        component: "cluster",
        subject: "replication-lag",
        expr: format!("{} > {LAG_WARNING}", node(Node::ReplicationLag)),
        wait: "1m",
        keep: "0s",
        summary: "{{ $labels.peer }} is behind {{ $labels.instance }}",
        description: "The oldest write of {{ $labels.instance }} that {{ $labels.peer }} has not acknowledged is {{ $value | humanizeDuration }} old.",
        fires: Fires {
            series: &[(
                "stemedb_replication_lag_seconds{job=\"stemedb\", instance=\"a:18180\", peer=\"node-2\"}",
                "0 61+30x10",
            )],
            not_yet: "1m",
            at: "1m30s",
            labels: &[("job", "stemedb"), ("instance", "a:18180"), ("peer", "node-2")],
            summary: "node-2 is behind a:18180",
            description: "The oldest write of a:18180 that node-2 has not acknowledged is 2m 1s old.",
        },
        silent: Silent {
            series: &[(
                "stemedb_replication_lag_seconds{job=\"stemedb\", instance=\"a:18180\", peer=\"node-2\"}",
                "60x20",
            )],
            at: "9m",
        },
    }
}

fn new_node_joined() -> Alert {
    Alert {
        name: "NewNodeJoined",
        severity: Severity::Info,
        component: "cluster",
        subject: "joins",
        expr: grown(&node(Node::ClusterJoins), "", "job, instance"),
        wait: "0s",
        keep: "0s",
        summary: "{{ $labels.instance }} has seen a node join",
        description: "{{ printf \"%.0f\" $value }} nodes joined, or came back, in five minutes.",
        fires: Fires {
            series: &[("stemedb_cluster_node_joins_total{job=\"stemedb\", instance=\"a:18180\"}", "2 2 3x10")],
            not_yet: "30s",
            at: "1m",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "a:18180 has seen a node join",
            description: "1 nodes joined, or came back, in five minutes.",
        },
        silent: Silent {
            series: &[("stemedb_cluster_node_joins_total{job=\"stemedb\", instance=\"a:18180\"}", "2x30")],
            at: "10m",
        },
    }
}
