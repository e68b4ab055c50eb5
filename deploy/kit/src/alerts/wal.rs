//! The write-ahead log, as the kernel sees it.

use stemedb_probe::catalog::Id as Agent;

use super::thresholds::{DISK_MUCH, FSYNC, NEARLY_FULL, SEGMENTS};
use super::{Alert, Fires, ONCE, Severity, Silent};
use crate::names::{agent, failed_syncs};
use crate::promql::{fsync_p99, grown};

/// Series of both alerts on the file system.
const SIZE: &str = "stemedb_wal_filesystem_size_bytes{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\"}";
const AVAILABLE: &str =
    "stemedb_wal_filesystem_available_bytes{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\"}";

/// The share of the log's file system that is in use.
fn full() -> String {
    format!("1 - {} / {}", agent(Agent::FilesystemAvailable), agent(Agent::FilesystemSize))
}

pub(super) fn alerts() -> Vec<Alert> {
    vec![wal_fsync_failure(), wal_fsync_slow(), wal_disk_nearly_full(), wal_disk_usage_high(), wal_segment_count_high()]
}

fn wal_fsync_failure() -> Alert {
    Alert {
        name: "WALFsyncFailure",
        severity: Severity::Critical,
        component: "wal",
        subject: "wal-fsync-failure",
        expr: grown(&agent(Agent::WriteErrors), &failed_syncs(""), "job, instance, target, op, error"),
        wait: "0s",
        keep: ONCE,
        summary: "{{ $labels.op }} of the write-ahead log of {{ $labels.target }} on {{ $labels.instance }} fails with {{ $labels.error }}",
        description: "{{ printf \"%.0f\" $value }} calls failed in five minutes. What they should have made durable is not; a second call may say that all is well.",
        fires: Fires {
            series: &[(
                "stemedb_wal_write_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fdatasync\", error=\"EIO\"}",
                "0 0 0 2x10",
            )],
            not_yet: "1m",
            at: "1m30s",
            labels: &[
                ("job", "stemedb-probe"),
                ("instance", "a:18190"),
                ("target", "db"),
                ("op", "fdatasync"),
                ("error", "EIO"),
            ],
            summary: "fdatasync of the write-ahead log of db on a:18190 fails with EIO",
            description: "2 calls failed in five minutes. What they should have made durable is not; a second call may say that all is well.",
        },
        silent: Silent {
            // A write that failed, a sync that did ten minutes before the agent was first asked, and one that was a mistake.
            series: &[
                (
                    "stemedb_wal_write_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"write\", error=\"ENOSPC\"}",
                    "0 0 0 2x30",
                ),
                (
                    "stemedb_wal_write_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fsync\", error=\"EIO\"}",
                    "3x30",
                ),
                (
                    "stemedb_wal_write_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"sync_file_range\", error=\"EINVAL\"}",
                    "0+1x30",
                ),
            ],
            at: "11m",
        },
    }
}

fn wal_fsync_slow() -> Alert {
    Alert {
        name: "WALFsyncSlow",
        severity: Severity::Warning,
        component: "wal",
        subject: "wal-fsync",
        expr: format!("{} > {FSYNC}", fsync_p99("job, instance, target")),
        wait: "2m",
        keep: "0s",
        summary: "The write-ahead log of {{ $labels.target }} on {{ $labels.instance }} waits long for the disk",
        description: "One fsync of a hundred takes {{ $value | humanizeDuration }} or more, and every write waits for one.",
        fires: Fires {
            series: &[
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fdatasync\", le=\"0.08838834764831845\"}",
                    "0+90x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fdatasync\", le=\"0.125\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fdatasync\", le=\"+Inf\"}",
                    "0+100x20",
                ),
            ],
            not_yet: "2m",
            at: "3m",
            labels: &[("job", "stemedb-probe"), ("instance", "a:18190"), ("target", "db")],
            summary: "The write-ahead log of db on a:18190 waits long for the disk",
            description: "One fsync of a hundred takes 121.3ms or more, and every write waits for one.",
        },
        silent: Silent {
            series: &[
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fdatasync\", le=\"0.08838834764831845\"}",
                    "0+986x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fdatasync\", le=\"0.125\"}",
                    "0+1000x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fdatasync\", le=\"+Inf\"}",
                    "0+1000x20",
                ),
            ],
            at: "9m",
        },
    }
}

fn wal_disk_nearly_full() -> Alert {
    Alert {
        name: "WALDiskNearlyFull",
        severity: Severity::Critical,
        component: "wal",
        subject: "wal-disk",
        expr: format!("{} > {NEARLY_FULL}", full()),
        wait: "5m",
        keep: "0s",
        summary: "The file system of the write-ahead log of {{ $labels.target }} on {{ $labels.instance }} is nearly full",
        description: "{{ $value | humanizePercentage }} of it are in use. When it is full, writes fail and the log takes nothing any more.",
        fires: Fires {
            series: &[(SIZE, "1000x20"), (AVAILABLE, "500 99x20")],
            not_yet: "5m",
            at: "5m30s",
            labels: &[("job", "stemedb-probe"), ("instance", "a:18190"), ("target", "db")],
            summary: "The file system of the write-ahead log of db on a:18190 is nearly full",
            description: "90.1% of it are in use. When it is full, writes fail and the log takes nothing any more.",
        },
        silent: Silent { series: &[(SIZE, "1000x20"), (AVAILABLE, "101x20")], at: "9m" },
    }
}

fn wal_disk_usage_high() -> Alert {
    Alert {
        name: "WALDiskUsageHigh",
        severity: Severity::Warning,
        component: "wal",
        subject: "wal-disk",
        expr: format!("{} > {DISK_MUCH}", full()),
        wait: "5m",
        keep: "0s",
        summary: "The file system of the write-ahead log of {{ $labels.target }} on {{ $labels.instance }} fills up",
        description: "{{ $value | humanizePercentage }} of it are in use.",
        fires: Fires {
            series: &[(SIZE, "1000x20"), (AVAILABLE, "500 290x20")],
            not_yet: "5m",
            at: "5m30s",
            labels: &[("job", "stemedb-probe"), ("instance", "a:18190"), ("target", "db")],
            summary: "The file system of the write-ahead log of db on a:18190 fills up",
            description: "71% of it are in use.",
        },
        silent: Silent { series: &[(SIZE, "1000x20"), (AVAILABLE, "301x20")], at: "9m" },
    }
}

fn wal_segment_count_high() -> Alert {
    Alert {
        name: "WALSegmentCountHigh",
        severity: Severity::Info,
        component: "wal",
        subject: "wal-segments",
        expr: format!("{} > {SEGMENTS}", agent(Agent::Segments)),
        wait: "5m",
        keep: "0s",
        summary: "The write-ahead log of {{ $labels.target }} on {{ $labels.instance }} has many segments",
        description: "There are {{ $value }} files. Checkpoints do not come, or something holds old segments back.",
        fires: Fires {
            series: &[(
                "stemedb_wal_segments_count{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\"}",
                "90 101x20",
            )],
            not_yet: "5m",
            at: "5m30s",
            labels: &[("job", "stemedb-probe"), ("instance", "a:18190"), ("target", "db")],
            summary: "The write-ahead log of db on a:18190 has many segments",
            description: "There are 101 files. Checkpoints do not come, or something holds old segments back.",
        },
        silent: Silent {
            series: &[(
                "stemedb_wal_segments_count{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\"}",
                "100x20",
            )],
            at: "9m",
        },
    }
}
