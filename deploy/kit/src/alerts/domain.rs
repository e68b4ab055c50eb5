//! Trust, breakers, quarantine.

use stemedb_metrics::catalog::Id as Node;

use super::thresholds::{DECAY_HOURS, GOLD, HALF_OPEN, QUARANTINE};
use super::{Alert, Fires, Severity, Silent};
use crate::names::{NODE_JOB, node};
use crate::promql::{grown, rate};

pub(super) fn alerts() -> Vec<Alert> {
    vec![
        trust_rank_decay_overdue(),
        circuit_breaker_half_open(),
        circuit_breaker_open(),
        quarantine_backlog_growing(),
        gold_standard_count_low(),
    ]
}

fn trust_rank_decay_overdue() -> Alert {
    Alert {
        name: "TrustRankDecayOverdue",
        severity: Severity::Warning,
        component: "domain",
        subject: "trust-decay",
        // Where it has never run, since the oldest of the nodes is up.
        expr: format!(
            "time() - (max by (job) ({}) or min by (job) (process_start_time_seconds{{job=\"{NODE_JOB}\"}})) > {DECAY_HOURS} * 3600",
            node(Node::TrustDecay)
        ),
        wait: "0s",
        keep: "0s",
        summary: "Trust ranks of {{ $labels.job }} have not decayed for a day",
        description: "The decay last ran to its end {{ $value | humanizeDuration }} ago, at whichever node; or it never has since the oldest of them is up.",
        fires: Fires {
            series: &[
                (
                    "stemedb_trust_rank_decay_last_run_timestamp_seconds{job=\"stemedb\", instance=\"a:18180\"}",
                    "-86370x10",
                ),
                (
                    "stemedb_trust_rank_decay_last_run_timestamp_seconds{job=\"stemedb\", instance=\"b:18180\"}",
                    "-86340x10",
                ),
            ],
            not_yet: "1m",
            at: "1m30s",
            labels: &[("job", "stemedb")],
            summary: "Trust ranks of stemedb have not decayed for a day",
            description: "The decay last ran to its end 1d 0h 0m 30s ago, at whichever node; or it never has since the oldest of them is up.",
        },
        silent: Silent {
            // One node has done it in time, though all have been up for longer than a day.
            series: &[
                ("process_start_time_seconds{job=\"stemedb\", instance=\"a:18180\"}", "-90000x10"),
                (
                    "stemedb_trust_rank_decay_last_run_timestamp_seconds{job=\"stemedb\", instance=\"a:18180\"}",
                    "-90000x10",
                ),
                (
                    "stemedb_trust_rank_decay_last_run_timestamp_seconds{job=\"stemedb\", instance=\"b:18180\"}",
                    "-86310x10",
                ),
            ],
            at: "1m30s",
        },
    }
}

fn circuit_breaker_half_open() -> Alert {
    Alert {
        name: "CircuitBreakerHalfOpen",
        severity: Severity::Warning,
        component: "domain",
        subject: "breaker-half-open",
        expr: format!("{} > {HALF_OPEN}", node(Node::BreakerHalfOpen)),
        wait: "0s",
        keep: "0s",
        summary: "A circuit breaker of {{ $labels.instance }} is stuck half open",
        description: "It has been half open for {{ $value | humanizeDuration }}: nothing has come that shows whether to close it.",
        fires: Fires {
            series: &[(
                "stemedb_circuit_breaker_half_open_seconds{job=\"stemedb\", instance=\"a:18180\"}",
                "270+30x10",
            )],
            not_yet: "30s",
            at: "1m",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "A circuit breaker of a:18180 is stuck half open",
            description: "It has been half open for 5m 30s: nothing has come that shows whether to close it.",
        },
        silent: Silent {
            series: &[("stemedb_circuit_breaker_half_open_seconds{job=\"stemedb\", instance=\"a:18180\"}", "300x20")],
            at: "9m",
        },
    }
}

fn circuit_breaker_open() -> Alert {
    Alert {
        name: "CircuitBreakerOpen",
        severity: Severity::Info,
        component: "domain",
        subject: "breaker-open",
        expr: grown(&node(Node::BreakerTrips), "", "job, instance"),
        wait: "0s",
        keep: "0s",
        summary: "A circuit breaker of {{ $labels.instance }} has opened",
        description: "{{ printf \"%.0f\" $value }} agents were wrong too often in five minutes; their votes are refused for a while.",
        fires: Fires {
            series: &[("stemedb_circuit_breaker_trips_total{job=\"stemedb\", instance=\"a:18180\"}", "0 0 1x10")],
            not_yet: "30s",
            at: "1m",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "A circuit breaker of a:18180 has opened",
            description: "1 agents were wrong too often in five minutes; their votes are refused for a while.",
        },
        silent: Silent {
            series: &[("stemedb_circuit_breaker_trips_total{job=\"stemedb\", instance=\"a:18180\"}", "7x30")],
            at: "10m",
        },
    }
}

fn quarantine_backlog_growing() -> Alert {
    Alert {
        name: "QuarantineBacklogGrowing",
        severity: Severity::Info,
        component: "domain",
        subject: "quarantine",
        expr: format!("{} * 60 > {QUARANTINE}", rate(&node(Node::QuarantineAdded), "", "job", "5m")),
        wait: "5m",
        keep: "0s",
        summary: "The quarantine of {{ $labels.job }} grows",
        description: "{{ printf \"%.0f\" $value }} votes a minute are held back. Somebody has to look at them.",
        fires: Fires {
            // Each node counts what came to it, of one quarantine.
            series: &[
                ("stemedb_quarantine_added_total{job=\"stemedb\", instance=\"a:18180\"}", "0+2x30"),
                ("stemedb_quarantine_added_total{job=\"stemedb\", instance=\"b:18180\"}", "0+4x30"),
            ],
            not_yet: "9m",
            at: "11m",
            labels: &[("job", "stemedb")],
            summary: "The quarantine of stemedb grows",
            description: "12 votes a minute are held back. Somebody has to look at them.",
        },
        silent: Silent {
            series: &[("stemedb_quarantine_added_total{job=\"stemedb\", instance=\"a:18180\"}", "0+4.95x30")],
            at: "14m",
        },
    }
}

fn gold_standard_count_low() -> Alert {
    Alert {
        name: "GoldStandardCountLow",
        severity: Severity::Info,
        component: "domain",
        subject: "gold",
        expr: format!("max by (job) ({}) < {GOLD}", node(Node::GoldStandards)),
        wait: "10m",
        keep: "0s",
        summary: "{{ $labels.job }} has few gold standards",
        description: "There are {{ $value }}: whom to trust is learnt from answers on these.",
        fires: Fires {
            series: &[("stemedb_gold_standards{job=\"stemedb\", instance=\"a:18180\"}", "3 2x30")],
            not_yet: "10m",
            at: "10m30s",
            labels: &[("job", "stemedb")],
            summary: "stemedb has few gold standards",
            description: "There are 2: whom to trust is learnt from answers on these.",
        },
        silent: Silent {
            series: &[
                ("stemedb_gold_standards{job=\"stemedb\", instance=\"a:18180\"}", "3x40"),
                ("stemedb_gold_standards{job=\"stemedb\", instance=\"b:18180\"}", "2x40"),
            ],
            at: "19m",
        },
    }
}
