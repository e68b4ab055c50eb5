//! Objectives: which share of requests and of fsyncs of the log must be well, and alerts on how fast the rest is used up.
//!
//! An alert looks at a long window, so that a short blip does not wake anybody, and at a short one, so that it ends soon after the trouble does
//! (The Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts").

use stemedb_metrics::catalog::Id as Node;
use stemedb_probe::catalog::Id as Agent;

use crate::alerts::{Alert, Fires, Severity, Silent};
use crate::names::{agent, node};
use crate::promql::{API, growth};
use crate::yaml;

/// The share of requests that may fail: three nines.
pub(crate) const API_BUDGET: f64 = 0.001;
/// The share of fsyncs of the log that may take longer than [`FSYNC_BOUND`].
pub(crate) const FSYNC_BUDGET: f64 = 0.01;
/// Requests or fsyncs of a window, of which a share means something: of fewer, one that fails is too much of it.
const CALLS: u32 = 100;
/// Each log has a budget of its own: a slow disk is not to be lost among fast ones.
const LOG: &str = "job, instance, host, target";
/// A bound of the histogram, as it is written there: an eighth of a second.
pub const FSYNC_BOUND: &str = "0.125";

/// A burn rate at which somebody is told, and over which windows.
pub(crate) struct Burn {
    /// How many times as fast as the budget allows.
    pub(crate) rate: f64,
    long: &'static str,
    short: &'static str,
}

/// Two per cent of a month's budget in an hour.
pub(crate) const FAST: Burn = Burn { rate: 14.4, long: "1h", short: "5m" };
/// Five per cent of it in six hours.
pub(crate) const SLOW: Burn = Burn { rate: 6.0, long: "6h", short: "30m" };
/// All windows.
const WINDOWS: [&str; 4] = ["5m", "30m", "1h", "6h"];

/// Names of the recorded shares without their windows.
pub const API_RATIO: &str = "stemedb:api_failed:ratio_rate";
/// The same for fsyncs.
pub const FSYNC_RATIO: &str = "stemedb:wal_fsync_slow:ratio_rate";

/// The rule file that records the shares.
#[must_use]
pub fn recording() -> String {
    let mut out = yaml::head("slo.rs");
    out += "# Shares of requests that failed (5..), and of fsyncs of the write-ahead log that took too long, over several windows.\n";
    out += "groups:\n  - name: stemedb_slo\n    rules:\n";
    for window in WINDOWS {
        out += &record(&format!("{API_RATIO}{window}"), &api_ratio(window));
        out += &record(&format!("{FSYNC_RATIO}{window}"), &fsync_ratio(window));
    }
    out
}

fn record(name: &str, expr: &str) -> String {
    format!("      - record: {name}\n        expr: |-\n{}", yaml::block(expr, 10))
}

fn api_ratio(window: &str) -> String {
    let requests = format!("{}_count", node(Node::HttpDuration));
    let failed = growth(&requests, &format!("{{{API}, status=~\"5..\"}}"), "job", window);
    let all = growth(&requests, &format!("{{{API}}}"), "job", window);
    // Where nothing failed there is no series of failures, and the share is 0.
    format!("({failed} or 0 * {all})\n/\n({all} > 0)")
}

fn fsync_ratio(window: &str) -> String {
    let latency = agent(Agent::FsyncLatency);
    let fast = growth(&format!("{latency}_bucket"), &format!("{{le=\"{FSYNC_BOUND}\"}}"), LOG, window);
    format!("1 - {fast}\n/\n({} > 0)", growth(&format!("{latency}_count"), "", LOG, window))
}

/// A share is too large over both windows, and one of enough calls to mean something.
fn burns(ratio: &str, budget: f64, burn: &Burn, calls: &str) -> String {
    let limit = format!("{} * {budget}", burn.rate);
    format!("{ratio}{} > {limit}\nand\n{ratio}{} > {limit}\nand\n{calls} > {CALLS}", burn.long, burn.short)
}

fn api_burns(burn: &Burn) -> String {
    let requests = format!("{}_count", node(Node::HttpDuration));
    let calls = growth(&requests, &format!("{{{API}}}"), "job", burn.long);
    burns(API_RATIO, API_BUDGET, burn, &calls)
}

fn fsync_burns(burn: &Burn) -> String {
    let calls = growth(&format!("{}_count", agent(Agent::FsyncLatency)), "", LOG, burn.long);
    burns(FSYNC_RATIO, FSYNC_BUDGET, burn, &calls)
}

const API_SERIES: [&str; 2] = [
    "stemedb_http_request_duration_seconds_count{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"201\"}",
    "stemedb_http_request_duration_seconds_count{job=\"stemedb\", instance=\"a:18180\", method=\"POST\", path=\"/v1/vote\", status=\"503\"}",
];
const FSYNC_SERIES: [&str; 2] = [
    "stemedb_wal_fsync_latency_seconds_bucket{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\", le=\"0.125\"}",
    "stemedb_wal_fsync_latency_seconds_count{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\", op=\"fdatasync\"}",
];

/// The alerts.
pub(crate) fn alerts() -> Vec<Alert> {
    vec![
        Alert {
            name: "APIAvailabilityBurnFast",
            severity: Severity::Critical,
            component: "api",
            subject: "api-availability",
            expr: api_burns(&FAST),
            wait: "2m",
            keep: "0s",
            summary: "{{ $labels.job }} fails so often that a month's error budget is gone in two days",
            description: "{{ $value | humanizePercentage }} of the requests of an hour failed; 0.1% may.",
            fires: Fires {
                series: &[(API_SERIES[0], "0+98x150"), (API_SERIES[1], "0+2x150")],
                not_yet: "2m",
                at: "3m",
                labels: &[("job", "stemedb")],
                summary: "stemedb fails so often that a month's error budget is gone in two days",
                description: "2% of the requests of an hour failed; 0.1% may.",
            },
            silent: Silent {
                // All well for some minutes: the hour still burns, the last five minutes do not.
                series: &[(API_SERIES[0], "0+98x60 5980+100x60"), (API_SERIES[1], "0+2x60 120x60")],
                at: "40m",
            },
        },
        Alert {
            name: "APIAvailabilityBurnSlow",
            severity: Severity::Warning,
            component: "api",
            subject: "api-availability",
            expr: api_burns(&SLOW),
            wait: "15m",
            keep: "0s",
            summary: "{{ $labels.job }} fails so often that a month's error budget is gone in five days",
            description: "{{ $value | humanizePercentage }} of the requests of six hours failed; 0.1% may.",
            fires: Fires {
                series: &[(API_SERIES[0], "0+990x150"), (API_SERIES[1], "0+10x150")],
                not_yet: "15m",
                at: "16m",
                labels: &[("job", "stemedb")],
                summary: "stemedb fails so often that a month's error budget is gone in five days",
                description: "1% of the requests of six hours failed; 0.1% may.",
            },
            silent: Silent { series: &[(API_SERIES[0], "0+995x150"), (API_SERIES[1], "0+5x150")], at: "60m" },
        },
        Alert {
            name: "WALFsyncBurnFast",
            severity: Severity::Critical,
            component: "wal",
            subject: "wal-fsync-slo",
            expr: fsync_burns(&FAST),
            wait: "2m",
            keep: "0s",
            summary: "Fsyncs of {{ $labels.target }} on {{ $labels.host }} are so often slow that a month's budget is gone in two days",
            description: "{{ $value | humanizePercentage }} of the log's fsyncs of an hour took longer than 125 ms; 1% may.",
            fires: Fires {
                series: &[(FSYNC_SERIES[0], "0+80x150"), (FSYNC_SERIES[1], "0+100x150")],
                not_yet: "2m",
                at: "3m",
                labels: &[("job", "stemedb-probe"), ("instance", "a:18190"), ("host", "a"), ("target", "db")],
                summary: "Fsyncs of db on a are so often slow that a month's budget is gone in two days",
                description: "20% of the log's fsyncs of an hour took longer than 125 ms; 1% may.",
            },
            silent: Silent { series: &[(FSYNC_SERIES[0], "0+86x150"), (FSYNC_SERIES[1], "0+100x150")], at: "40m" },
        },
        Alert {
            name: "WALFsyncBurnSlow",
            severity: Severity::Warning,
            component: "wal",
            subject: "wal-fsync-slo",
            expr: fsync_burns(&SLOW),
            wait: "15m",
            keep: "0s",
            summary: "Fsyncs of {{ $labels.target }} on {{ $labels.host }} are so often slow that a month's budget is gone in five days",
            description: "{{ $value | humanizePercentage }} of the log's fsyncs of six hours took longer than 125 ms; 1% may.",
            fires: Fires {
                series: &[(FSYNC_SERIES[0], "0+90x150"), (FSYNC_SERIES[1], "0+100x150")],
                not_yet: "15m",
                at: "16m",
                labels: &[("job", "stemedb-probe"), ("instance", "a:18190"), ("host", "a"), ("target", "db")],
                summary: "Fsyncs of db on a are so often slow that a month's budget is gone in five days",
                description: "10% of the log's fsyncs of six hours took longer than 125 ms; 1% may.",
            },
            silent: Silent { series: &[(FSYNC_SERIES[0], "0+95x150"), (FSYNC_SERIES[1], "0+100x150")], at: "60m" },
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_one_of_the_histograms() {
        let bounds = stemedb_metrics::bounds::latency();
        assert!(bounds.iter().any(|bound| bound.to_string() == FSYNC_BOUND), "{bounds:?}");
    }
}
