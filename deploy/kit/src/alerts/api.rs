//! The API: whether it answers, how fast, and how often it fails.

use stemedb_metrics::catalog::Id as Node;

use super::thresholds::{FEW, FSYNC, QUERIES, REFUSED, REQUEST};
use super::{Alert, Fires, Severity, Silent};
use crate::names::{AGENT_JOB, NODE_JOB, node};
use crate::promql::{API, WINDOW, down, growth, rate, request_p99, slow_alone, slowest_log};

pub(super) fn alerts() -> Vec<Alert> {
    vec![api_down(), high_api_error_rate(), high_api_latency(), api_slow_disk_fast(), low_query_throughput()]
}

fn api_down() -> Alert {
    Alert {
        name: "StemeDBAPIDown",
        severity: Severity::Critical,
        component: "api",
        subject: "api-down",
        expr: down(NODE_JOB),
        wait: "1m",
        keep: "0s",
        summary: "{{ if $labels.instance }}The API of {{ $labels.instance }} does not answer{{ else }}Prometheus has lost every node of {{ $labels.job }}{{ end }}",
        description: "Prometheus has not reached {{ or $labels.instance \"any of them\" }} for more than a minute.",
        fires: Fires {
            series: &[("up{job=\"stemedb\", instance=\"a:18180\"}", "1 0x10")],
            not_yet: "1m",
            at: "1m30s",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "The API of a:18180 does not answer",
            description: "Prometheus has not reached a:18180 for more than a minute.",
        },
        silent: Silent {
            // Away for half a minute twice, and another job's target for longer.
            series: &[
                ("up{job=\"stemedb\", instance=\"a:18180\"}", "1 0 1 0 1 1 1 1"),
                ("up{job=\"other\", instance=\"b:1\"}", "0x10"),
            ],
            at: "2m",
        },
    }
}

fn high_api_error_rate() -> Alert {
    let requests = format!("{}_count", node(Node::HttpDuration));
    let all = rate(&requests, &format!("{{{API}}}"), "job, instance", "5m");
    let counted = growth(&requests, &format!("{{{API}}}"), "job, instance", WINDOW);
    let refused = growth(&requests, &format!("{{{API}, status=~\"[45]..\"}}"), "job, instance", WINDOW);
    Alert {
        name: "HighAPIErrorRate",
        severity: Severity::Warning,
        component: "api",
        subject: "api-errors",
        expr: format!("{refused}\n/\n{counted}\n> {REFUSED}\nand\n{all} > {FEW}"),
        wait: "2m",
        keep: "0s",
        summary: "{{ $labels.instance }} refuses or fails many requests",
        description: "{{ $value | humanizePercentage }} of the requests of five minutes had a status of 400 or more. Who is at fault, the statuses tell: 4.. the clients, 5.. the node.",
        fires: Fires {
            series: &[
                (
                    "stemedb_http_request_duration_seconds_count{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"201\"}",
                    "0+98x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_count{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"422\"}",
                    "0+2x20",
                ),
            ],
            not_yet: "2m",
            at: "3m",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "a:18180 refuses or fails many requests",
            description: "2% of the requests of five minutes had a status of 400 or more. Who is at fault, the statuses tell: 4.. the clients, 5.. the node.",
        },
        silent: Silent {
            series: &[
                (
                    "stemedb_http_request_duration_seconds_count{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"201\"}",
                    "0+991x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_count{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"503\"}",
                    "0+9x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_count{job=\"stemedb\", instance=\"a:18180\", method=\"GET\", path=\"/metrics\", status=\"500\"}",
                    "0+900x20",
                ),
            ],
            at: "9m",
        },
    }
}

fn high_api_latency() -> Alert {
    Alert {
        name: "HighAPILatency",
        severity: Severity::Warning,
        component: "api",
        subject: "api-latency",
        expr: format!("{} > {REQUEST}", request_p99("job, instance")),
        wait: "2m",
        keep: "0s",
        summary: "The API of {{ $labels.instance }} is slow",
        description: "One request of a hundred takes {{ $value | humanizeDuration }} or more.",
        fires: Fires {
            series: &[
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"0.5\"}",
                    "0+90x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"1\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"+Inf\"}",
                    "0+100x20",
                ),
            ],
            not_yet: "2m",
            at: "3m",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "The API of a:18180 is slow",
            description: "One request of a hundred takes 950ms or more.",
        },
        silent: Silent {
            series: &[
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"0.5\"}",
                    "0+99x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"1\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"+Inf\"}",
                    "0+100x20",
                ),
            ],
            at: "9m",
        },
    }
}

fn api_slow_disk_fast() -> Alert {
    Alert {
        name: "APISlowDiskFast",
        severity: Severity::Warning,
        component: "api",
        subject: "api-slow-disk-fast",
        expr: slow_alone(
            &format!("{} > {REQUEST}", request_p99("host")),
            AGENT_JOB,
            &format!("{} >= {FSYNC}", slowest_log()),
        ),
        wait: "2m",
        keep: "0s",
        summary: "The API on {{ $labels.host }} is slow, and the disk is not",
        description: "One request of a hundred takes {{ $value | humanizeDuration }} or more while the log's fsyncs are fast: look at the program, its locks and its processor.",
        fires: Fires {
            series: &[
                ("up{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\"}", "1x40"),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"0.5\"}",
                    "0+90x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"1\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"+Inf\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"0.015625\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"+Inf\"}",
                    "0+100x20",
                ),
            ],
            not_yet: "2m",
            at: "3m",
            labels: &[("host", "a")],
            summary: "The API on a is slow, and the disk is not",
            description: "One request of a hundred takes 950ms or more while the log's fsyncs are fast: look at the program, its locks and its processor.",
        },
        silent: Silent {
            // The disk of this host is slow as well; that another's is fast is no matter.
            series: &[
                ("up{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\"}", "1x40"),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"0.5\"}",
                    "0+90x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"1\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_http_request_duration_seconds_bucket{job=\"stemedb\", instance=\"a:18180\", host=\"a\", method=\"POST\", path=\"/v1/vote\", status=\"201\", le=\"+Inf\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"0.08838834764831845\"}",
                    "0+90x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"1\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"+Inf\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"b:18190\", host=\"b\", target=\"db\", op=\"fdatasync\", le=\"0.08838834764831845\"}",
                    "0+100x20",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"b:18190\", host=\"b\", target=\"db\", op=\"fdatasync\", le=\"+Inf\"}",
                    "0+100x20",
                ),
            ],
            at: "9m",
        },
    }
}

fn low_query_throughput() -> Alert {
    Alert {
        name: "LowQueryThroughput",
        severity: Severity::Info,
        component: "api",
        subject: "throughput",
        expr: format!(
            "({} or 0 * sum by (job) (up{{job=\"{NODE_JOB}\"}} == 1)) < {QUERIES}",
            rate(
                &node(Node::HttpRequests),
                "{method=\"GET\", path=~\"/v1/.*\", path!~\"/v1/(admin|peer)/.*\"}",
                "job",
                "5m"
            )
        ),
        wait: "10m",
        keep: "0s",
        summary: "Hardly anybody asks {{ $labels.job }} anything",
        description: "{{ printf \"%.3f\" $value }} queries a second. Is a load balancer or a client broken?",
        fires: Fires {
            series: &[
                (
                    "stemedb_http_requests_total{job=\"stemedb\", instance=\"a:18180\", method=\"GET\", path=\"/v1/claims\"}",
                    "0+2x40",
                ),
                (
                    "stemedb_http_requests_total{job=\"stemedb\", instance=\"a:18180\", method=\"GET\", path=\"/metrics\"}",
                    "0+30x40",
                ),
                (
                    "stemedb_http_requests_total{job=\"stemedb\", instance=\"a:18180\", method=\"GET\", path=\"/v1/peer/tree/{id}\"}",
                    "0+30x40",
                ),
            ],
            not_yet: "10m",
            at: "11m",
            labels: &[("job", "stemedb")],
            summary: "Hardly anybody asks stemedb anything",
            description: "0.067 queries a second. Is a load balancer or a client broken?",
        },
        silent: Silent {
            series: &[(
                "stemedb_http_requests_total{job=\"stemedb\", instance=\"a:18180\", method=\"GET\", path=\"/v1/claims\"}",
                "0+4x40",
            )],
            at: "19m",
        },
    }
}
