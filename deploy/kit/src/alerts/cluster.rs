//! The cluster.

use stemedb_metrics::catalog::Id as Node;

use super::thresholds::{LAG_CRITICAL, LAG_WARNING};
use super::{Alert, Fires, Severity, Silent};
use crate::names::node;
use crate::promql::increase;

pub(super) fn alerts() -> Vec<Alert> {
    vec![cluster_split_brain(), replication_lag_critical(), replication_lag_warning(), new_node_joined()]
}

fn cluster_split_brain() -> Alert {
    Alert {
        name: "ClusterSplitBrain",
        severity: Severity::Critical,
        component: "cluster",
        subject: "quorum",
        expr: format!("{} == 0", node(Node::ClusterQuorum)),
        wait: "30s",
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

fn replication_lag_critical() -> Alert {
    Alert {
        name: "ReplicationLagCritical",
        severity: Severity::Critical,
        component: "cluster",
        subject: "replication-lag",
        expr: format!("{} > {LAG_CRITICAL}", node(Node::ReplicationLag)),
        wait: "1m",
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
        expr: format!("{} > 0", increase(&node(Node::ClusterJoins), "", "job, instance")),
        wait: "0s",
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
