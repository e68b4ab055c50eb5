//! The engines and their indexes.

use stemedb_metrics::catalog::Id as Node;
use stemedb_probe::catalog::Id as Agent;

use super::thresholds::{BACKLOG, LOOKUP, STORAGE_ERRORS};
use super::{Alert, Fires, ONCE, Severity, Silent};
use crate::names::{failed_syncs, file, node};
use crate::promql::{WINDOW, grown, quantile, rate};

pub(super) fn alerts() -> Vec<Alert> {
    vec![high_storage_error_rate(), file_fsync_failure(), index_lookup_slow(), storage_compaction_pending()]
}

fn high_storage_error_rate() -> Alert {
    Alert {
        name: "HighStorageErrorRate",
        severity: Severity::Critical,
        component: "storage",
        subject: "storage-errors",
        expr: format!(
            "{} > {STORAGE_ERRORS}",
            rate(&node(Node::Errors), "{layer=~\"storage|wal\"}", "job, instance", "5m")
        ),
        wait: "1m",
        keep: "0s",
        summary: "The storage of {{ $labels.instance }} fails",
        description: "{{ printf \"%.1f\" $value }} errors a second from the log and the engines.",
        fires: Fires {
            series: &[(
                "stemedb_errors_total{job=\"stemedb\", instance=\"a:18180\", type=\"log_failed\", layer=\"wal\"}",
                "0+36x30",
            )],
            not_yet: "4m30s",
            at: "7m",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "The storage of a:18180 fails",
            description: "1.2 errors a second from the log and the engines.",
        },
        silent: Silent {
            series: &[
                (
                    "stemedb_errors_total{job=\"stemedb\", instance=\"a:18180\", type=\"storage_failed\", layer=\"storage\"}",
                    "0+29x30",
                ),
                (
                    "stemedb_errors_total{job=\"stemedb\", instance=\"a:18180\", type=\"invalid_request\", layer=\"validation\"}",
                    "0+900x30",
                ),
            ],
            at: "14m",
        },
    }
}

fn file_fsync_failure() -> Alert {
    Alert {
        name: "FileFsyncFailure",
        severity: Severity::Critical,
        component: "storage",
        subject: "file-fsync-failure",
        expr: grown(
            &file(Agent::WriteErrors),
            // Unwinders of stacks ask msync whether there is memory.
            &failed_syncs("|ENOMEM"),
            "job, instance, target, class, op, error",
        ),
        wait: "0s",
        keep: ONCE,
        summary: "{{ $labels.op }} of {{ $labels.class }} files of {{ $labels.target }} on {{ $labels.instance }} fails with {{ $labels.error }}",
        description: "{{ printf \"%.0f\" $value }} calls failed in five minutes. What they should have made durable is not; a second call may say that all is well.",
        fires: Fires {
            // A series that was not there before, of an agent that was.
            series: &[
                ("up{job=\"stemedb-probe\", instance=\"a:18190\"}", "1x40"),
                (
                    "stemedb_file_write_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", class=\"store\", op=\"fsync\", error=\"EROFS\"}",
                    "_x10 1x10",
                ),
            ],
            not_yet: "4m30s",
            at: "5m",
            labels: &[
                ("job", "stemedb-probe"),
                ("instance", "a:18190"),
                ("target", "db"),
                ("class", "store"),
                ("op", "fsync"),
                ("error", "EROFS"),
            ],
            summary: "fsync of store files of db on a:18190 fails with EROFS",
            description: "1 calls failed in five minutes. What they should have made durable is not; a second call may say that all is well.",
        },
        silent: Silent {
            // Old errors, and calls that were a mistake.
            series: &[
                (
                    "stemedb_file_write_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", class=\"store\", op=\"fsync\", error=\"EIO\"}",
                    "7x30",
                ),
                (
                    "stemedb_file_write_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", class=\"other\", op=\"fsync\", error=\"EBADF\"}",
                    "0+1x30",
                ),
                (
                    "stemedb_file_write_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", class=\"other\", op=\"msync\", error=\"ENOMEM\"}",
                    "0+1x30",
                ),
            ],
            at: "5m",
        },
    }
}

fn index_lookup_slow() -> Alert {
    Alert {
        name: "IndexLookupSlow",
        severity: Severity::Warning,
        component: "index",
        subject: "index-latency",
        expr: format!("{} > {LOOKUP}", quantile(0.95, &node(Node::IndexLookup), "", "job, instance, index", WINDOW)),
        wait: "2m",
        keep: "0s",
        summary: "Look-ups in the index {{ $labels.index }} of {{ $labels.instance }} are slow",
        description: "One of twenty takes {{ $value | humanizeDuration }} or more.",
        fires: Fires {
            series: &[
                (
                    "stemedb_index_lookup_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", index=\"votes_by_agent\", le=\"0.04419417382415922\"}",
                    "0+90x20",
                ),
                (
                    "stemedb_index_lookup_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", index=\"votes_by_agent\", le=\"0.0625\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_index_lookup_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", index=\"votes_by_agent\", le=\"+Inf\"}",
                    "0+100x20",
                ),
            ],
            not_yet: "2m",
            at: "3m",
            labels: &[("job", "stemedb"), ("instance", "a:18180"), ("index", "votes_by_agent")],
            summary: "Look-ups in the index votes_by_agent of a:18180 are slow",
            description: "One of twenty takes 53.35ms or more.",
        },
        silent: Silent {
            series: &[
                (
                    "stemedb_index_lookup_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", index=\"votes_by_agent\", le=\"0.04419417382415922\"}",
                    "0+927x20",
                ),
                (
                    "stemedb_index_lookup_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", index=\"votes_by_agent\", le=\"0.0625\"}",
                    "0+1000x20",
                ),
                (
                    "stemedb_index_lookup_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", index=\"votes_by_agent\", le=\"+Inf\"}",
                    "0+1000x20",
                ),
            ],
            at: "9m",
        },
    }
}

fn storage_compaction_pending() -> Alert {
    Alert {
        name: "StorageCompactionPending",
        severity: Severity::Warning,
        component: "storage",
        subject: "compaction",
        expr: format!("{} > {BACKLOG}", node(Node::CompactionPending)),
        wait: "5m",
        keep: "0s",
        summary: "Compaction of {{ $labels.backend }} on {{ $labels.instance }} does not keep up",
        description: "{{ $value | humanize }}B wait to be compacted. Reads look at more and more files.",
        fires: Fires {
            series: &[(
                "stemedb_storage_compaction_pending_bytes{job=\"stemedb\", instance=\"a:18180\", backend=\"fjall\"}",
                "0 10500000000x20",
            )],
            not_yet: "5m",
            at: "5m30s",
            labels: &[("job", "stemedb"), ("instance", "a:18180"), ("backend", "fjall")],
            summary: "Compaction of fjall on a:18180 does not keep up",
            description: "10.5GB wait to be compacted. Reads look at more and more files.",
        },
        silent: Silent {
            series: &[(
                "stemedb_storage_compaction_pending_bytes{job=\"stemedb\", instance=\"a:18180\", backend=\"fjall\"}",
                "10000000000x20",
            )],
            at: "9m",
        },
    }
}
