//! Disks, as the kernel sees them.

use stemedb_probe::catalog::Id as Agent;

use super::thresholds::{FLUSH, FSYNC, REQUEST};
use super::{Alert, Fires, ONCE, Severity, Silent};
use crate::names::{NODE_JOB, agent};
use crate::promql::{WINDOW, grown, quantile, request_p99, slow_alone, slowest_log};

/// Failures that are a fault: a disk that refuses to discard or to write zeroes by itself is asked in another way, and `again` is asked again; and no
/// database is on a floppy or an optical disk, which fail for want of one.
const REAL_ERRORS: &str =
    "{op!~\"discard|write_zeroes\", error!~\"notsupp|again|EOPNOTSUPP|EAGAIN\", device!~\"(fd|sr)[0-9]+\"}";

pub(super) fn alerts() -> Vec<Alert> {
    vec![disk_errors(), writeback_errors(), disk_flush_slow(), disk_slow_api_fast()]
}

fn disk_errors() -> Alert {
    Alert {
        name: "DiskErrors",
        severity: Severity::Critical,
        component: "disk",
        subject: "disk-errors",
        expr: grown(&agent(Agent::DiskErrors), REAL_ERRORS, "job, instance, device, op, error"),
        wait: "0s",
        keep: ONCE,
        summary: "The disk {{ $labels.device }} of {{ $labels.instance }} fails: {{ $labels.op }}, {{ $labels.error }}",
        description: "{{ printf \"%.0f\" $value }} block requests failed in five minutes.",
        fires: Fires {
            series: &[
                ("up{job=\"stemedb-probe\", instance=\"a:18190\"}", "1x40"),
                (
                    "stemedb_disk_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", op=\"write\", class=\"wal\", error=\"ioerr\"}",
                    "_x10 3x10",
                ),
                (
                    "stemedb_disk_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"\", device=\"vda\", op=\"write\", class=\"other\", error=\"ioerr\"}",
                    "_x10 1x10",
                ),
            ],
            not_yet: "4m30s",
            at: "5m",
            labels: &[
                ("job", "stemedb-probe"),
                ("instance", "a:18190"),
                ("device", "vda"),
                ("op", "write"),
                ("error", "ioerr"),
            ],
            summary: "The disk vda of a:18190 fails: write, ioerr",
            description: "4 block requests failed in five minutes.",
        },
        silent: Silent {
            // Old errors of an agent that could not be scraped five minutes ago, a disk that refuses to discard, and a drive without a disk.
            series: &[
                ("up{job=\"stemedb-probe\", instance=\"a:18190\"}", "1x10 0 1x20"),
                (
                    "stemedb_disk_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", op=\"write\", class=\"wal\", error=\"ioerr\"}",
                    "3x10 stale 3x20",
                ),
                (
                    "stemedb_disk_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"\", device=\"sdb\", op=\"discard\", class=\"other\", error=\"target\"}",
                    "0+1x30",
                ),
                (
                    "stemedb_disk_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"\", device=\"sr0\", op=\"read\", class=\"other\", error=\"ioerr\"}",
                    "0+1x30",
                ),
            ],
            at: "10m30s",
        },
    }
}

fn writeback_errors() -> Alert {
    Alert {
        name: "WritebackErrors",
        severity: Severity::Critical,
        component: "disk",
        subject: "writeback-errors",
        expr: grown(&agent(Agent::WritebackErrors), "", "job, instance, target, class"),
        wait: "0s",
        keep: ONCE,
        summary: "The kernel could not write back {{ $labels.class }} files of {{ $labels.target }} on {{ $labels.instance }}",
        description: "{{ printf \"%.0f\" $value }} errors in five minutes. The pages are gone; only the next sync of each file tells the database.",
        fires: Fires {
            series: &[(
                "stemedb_writeback_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", class=\"store\"}",
                "0 0 2x10",
            )],
            not_yet: "30s",
            at: "1m",
            labels: &[("job", "stemedb-probe"), ("instance", "a:18190"), ("target", "db"), ("class", "store")],
            summary: "The kernel could not write back store files of db on a:18190",
            description: "2 errors in five minutes. The pages are gone; only the next sync of each file tells the database.",
        },
        silent: Silent {
            series: &[(
                "stemedb_writeback_errors_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", class=\"store\"}",
                "2x30",
            )],
            at: "10m",
        },
    }
}

fn disk_flush_slow() -> Alert {
    Alert {
        name: "DiskFlushSlow",
        severity: Severity::Warning,
        component: "disk",
        subject: "disk-flush",
        expr: format!(
            "{} > {FLUSH}",
            quantile(0.99, &agent(Agent::DiskFlushLatency), "", "job, instance, device", WINDOW)
        ),
        wait: "2m",
        keep: "0s",
        summary: "The disk {{ $labels.device }} of {{ $labels.instance }} flushes its cache slowly",
        description: "One flush of a hundred takes {{ $value | humanizeDuration }} or more, and each fsync waits for one.",
        fires: Fires {
            series: &[
                (
                    "stemedb_disk_flush_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", le=\"0.04419417382415922\"}",
                    "0+90x20",
                ),
                (
                    "stemedb_disk_flush_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", le=\"0.0625\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_disk_flush_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", le=\"+Inf\"}",
                    "0+100x20",
                ),
            ],
            not_yet: "2m",
            at: "3m",
            labels: &[("job", "stemedb-probe"), ("instance", "a:18190"), ("device", "vda")],
            summary: "The disk vda of a:18190 flushes its cache slowly",
            description: "One flush of a hundred takes 60.67ms or more, and each fsync waits for one.",
        },
        silent: Silent {
            series: &[
                (
                    "stemedb_disk_flush_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", le=\"0.04419417382415922\"}",
                    "0+986x20",
                ),
                (
                    "stemedb_disk_flush_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", le=\"0.0625\"}",
                    "0+1000x20",
                ),
                (
                    "stemedb_disk_flush_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", le=\"+Inf\"}",
                    "0+1000x20",
                ),
            ],
            at: "9m",
        },
    }
}

fn disk_slow_api_fast() -> Alert {
    Alert {
        name: "DiskSlowAPIFast",
        severity: Severity::Warning,
        component: "disk",
        subject: "disk-slow-api-fast",
        expr: slow_alone(
            &format!("{} > {FSYNC}", slowest_log()),
            NODE_JOB,
            &format!("{} >= {REQUEST}", request_p99("host")),
        ),
        wait: "5m",
        keep: "0s",
        summary: "The disk on {{ $labels.host }} is slow, and the API is not yet",
        description: "One fsync of the log of a hundred takes {{ $value | humanizeDuration }} or more. Requests do not show it so far: few of them write, or the load is small.",
        fires: Fires {
            series: &[
                ("up{job=\"stemedb\", instance=\"a:18180\", host=\"a\"}", "1x40"),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"0.08838834764831845\"}",
                    "0+90x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"0.125\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"+Inf\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"GET\", path=\"/v1/claims\", status=\"200\", le=\"0.08838834764831845\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"GET\", path=\"/v1/claims\", status=\"200\", le=\"+Inf\"}",
                    "0+100x20",
                ),
            ],
            not_yet: "5m",
            at: "6m",
            labels: &[("host", "a")],
            summary: "The disk on a is slow, and the API is not yet",
            description: "One fsync of the log of a hundred takes 121.3ms or more. Requests do not show it so far: few of them write, or the load is small.",
        },
        silent: Silent {
            series: &[
                ("up{job=\"stemedb\", instance=\"a:18180\", host=\"a\"}", "1x40"),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"0.08838834764831845\"}",
                    "0+986x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"0.125\"}",
                    "0+1000x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"+Inf\"}",
                    "0+1000x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"GET\", path=\"/v1/claims\", status=\"200\", le=\"0.08838834764831845\"}",
                    "0+1000x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"GET\", path=\"/v1/claims\", status=\"200\", le=\"+Inf\"}",
                    "0+1000x20",
                ),
            ],
            at: "9m",
        },
    }
}
