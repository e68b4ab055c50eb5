//! The agent itself.

use stemedb_probe::catalog::Id as Agent;

use super::thresholds::LOST;
use super::{Alert, Fires, Severity, Silent};
use crate::names::{AGENT_JOB, agent, file};
use crate::promql::{down, rate};

pub(super) fn alerts() -> Vec<Alert> {
    vec![probe_down(), probe_capability_degraded(), probe_samples_lost()]
}

fn probe_down() -> Alert {
    Alert {
        name: "ProbeDown",
        severity: Severity::Warning,
        component: "agent",
        subject: "agent-down",
        expr: down(AGENT_JOB),
        wait: "2m",
        summary: "{{ if $labels.instance }}The agent {{ $labels.instance }} does not answer{{ else }}Prometheus has lost every agent of {{ $labels.job }}{{ end }}",
        description: "Nothing is known of fsyncs and disks there. The database is not concerned.",
        fires: Fires {
            series: &[("up{job=\"stemedb-probe\", instance=\"a:18190\"}", "1 0x10")],
            not_yet: "2m",
            at: "2m30s",
            labels: &[("job", "stemedb-probe"), ("instance", "a:18190")],
            summary: "The agent a:18190 does not answer",
            description: "Nothing is known of fsyncs and disks there. The database is not concerned.",
        },
        silent: Silent {
            series: &[("up{job=\"stemedb-probe\", instance=\"a:18190\"}", "1 0 0 0 0 1 0x10")],
            at: "4m30s",
        },
    }
}

fn probe_capability_degraded() -> Alert {
    let (by, capability) = ("job, host", agent(Agent::Capability));
    Alert {
        name: "ProbeCapabilityDegraded",
        severity: Severity::Warning,
        component: "agent",
        subject: "agent-capability",
        expr: format!(
            "sum by ({by}, capability) ({capability}) == 0\nand on ({by}, capability)\nsum by ({by}, capability) (max_over_time({capability}[1d])) > 0"
        ),
        wait: "5m",
        summary: "The agent on {{ $labels.host }} sees less than it did: {{ $labels.capability }}",
        description: "`stemedb-probe doctor` tells why, and how to get it back. A new kernel or new settings, most likely.",
        fires: Fires {
            series: &[
                (
                    "stemedb_probe_capability{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", capability=\"journal\", hook=\"jbd2\"}",
                    "1 1 _x20",
                ),
                (
                    "stemedb_probe_capability{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", capability=\"journal\", hook=\"\"}",
                    "_ _ 0x30",
                ),
            ],
            not_yet: "10m",
            at: "11m",
            labels: &[("job", "stemedb-probe"), ("host", "a"), ("capability", "journal")],
            summary: "The agent on a sees less than it did: journal",
            description: "`stemedb-probe doctor` tells why, and how to get it back. A new kernel or new settings, most likely.",
        },
        silent: Silent {
            // One that this kernel never had, and one that goes on by another hook.
            series: &[
                (
                    "stemedb_probe_capability{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", capability=\"msync_file\", hook=\"\"}",
                    "0x40",
                ),
                (
                    "stemedb_probe_capability{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", capability=\"fsync\", hook=\"fentry\"}",
                    "1 1 _x40",
                ),
                (
                    "stemedb_probe_capability{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", capability=\"fsync\", hook=\"tracepoint\"}",
                    "_ _ 1x40",
                ),
            ],
            at: "18m",
        },
    }
}

fn probe_samples_lost() -> Alert {
    let by = "job, instance";
    let syncs = [agent(Agent::FsyncLatency), file(Agent::FsyncLatency)].map(|name| format!("{name}_count"));
    let counted = [agent(Agent::DiskIos), agent(Agent::Writes), file(Agent::Writes)].into_iter().chain(syncs);
    // Each has labels of its own, so that none takes another's place.
    let counted = counted.map(|name| format!("rate({name}[5m])")).collect::<Vec<_>>().join("\n  or\n  ");
    Alert {
        name: "ProbeSamplesLost",
        severity: Severity::Warning,
        component: "agent",
        subject: "agent-lost",
        expr: format!(
            "{}\n/\n(sum by ({by}) (\n  {counted}\n) > 0)\n> {LOST}",
            rate(&agent(Agent::Lost), "{reason!~\"class_depth|msync_file|slow_full\"}", by, "5m")
        ),
        wait: "5m",
        summary: "The agent {{ $labels.instance }} loses events",
        description: "{{ $value | humanizePercentage }} of what it should have counted is missing. stemedb_probe_lost_total tells what, and the documentation of its reasons why.",
        fires: Fires {
            series: &[
                (
                    "stemedb_probe_lost_total{job=\"stemedb-probe\", instance=\"a:18190\", reason=\"events_full\"}",
                    "0+2x30",
                ),
                (
                    "stemedb_disk_ios_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", op=\"write\", class=\"wal\", origin=\"direct\"}",
                    "0+600x30",
                ),
                (
                    "stemedb_wal_writes_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"write\"}",
                    "0+300x30",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_count{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fdatasync\"}",
                    "0+100x30",
                ),
            ],
            not_yet: "5m",
            at: "6m",
            labels: &[("job", "stemedb-probe"), ("instance", "a:18190")],
            summary: "The agent a:18190 loses events",
            description: "0.2% of what it should have counted is missing. stemedb_probe_lost_total tells what, and the documentation of its reasons why.",
        },
        silent: Silent {
            series: &[
                (
                    "stemedb_probe_lost_total{job=\"stemedb-probe\", instance=\"a:18190\", reason=\"events_full\"}",
                    "0+9x30",
                ),
                (
                    "stemedb_disk_ios_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", device=\"vda\", op=\"write\", class=\"wal\", origin=\"direct\"}",
                    "0+6000x30",
                ),
                (
                    "stemedb_wal_writes_total{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"write\"}",
                    "0+3000x30",
                ),
                (
                    "stemedb_wal_fsync_latency_seconds_count{job=\"stemedb-probe\", instance=\"a:18190\", target=\"db\", op=\"fdatasync\"}",
                    "0+1000x30",
                ),
            ],
            at: "14m",
        },
    }
}
