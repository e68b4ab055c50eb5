//! The agent itself.

use stemedb_probe::catalog::Id as Agent;

use super::thresholds::LOST;
use super::{Alert, Fires, Severity, Silent};
use crate::names::{AGENT_JOB, NODE_JOB, agent, file};
use crate::promql::{down, rate};

/// Reasons of losses by which no event is missing: it is counted in another class, will be counted when it ends, or is only not told one by one.
const NOT_MISSING: &str = "class_depth|mapped_file|msync_file|name_length|restarted|slow_full";

pub(super) fn alerts() -> Vec<Alert> {
    vec![probe_down(), probe_missing(), probe_watches_nothing(), probe_capability_degraded(), probe_samples_lost()]
}

fn probe_down() -> Alert {
    Alert {
        name: "ProbeDown",
        severity: Severity::Warning,
        component: "agent",
        subject: "agent-down",
        expr: down(AGENT_JOB),
        wait: "2m",
        keep: "0s",
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

/// Where there are agents, each machine of a node should have one.
fn probe_missing() -> Alert {
    let up = |job: &str| format!("up{{job=\"{job}\"}}");
    Alert {
        name: "ProbeMissing",
        severity: Severity::Warning,
        component: "agent",
        subject: "agent-missing",
        expr: format!(
            "count by (host) ({}) unless on (host) {agents}\nand on ()\ncount({agents}) > 0",
            up(NODE_JOB),
            agents = up(AGENT_JOB)
        ),
        wait: "10m",
        keep: "0s",
        summary: "There is no agent on {{ $labels.host }}",
        description: "Prometheus knows {{ $value }} nodes there and no agent: nothing is known of their fsyncs and disks.",
        fires: Fires {
            series: &[
                ("up{job=\"stemedb\", instance=\"a:18180\", host=\"a\"}", "1x40"),
                ("up{job=\"stemedb\", instance=\"b:18180\", host=\"b\"}", "1x40"),
                ("up{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\"}", "1x40"),
            ],
            not_yet: "9m30s",
            at: "10m",
            labels: &[("host", "b")],
            summary: "There is no agent on b",
            description: "Prometheus knows 1 nodes there and no agent: nothing is known of their fsyncs and disks.",
        },
        // Who has no agents at all does without.
        silent: Silent { series: &[("up{job=\"stemedb\", instance=\"a:18180\", host=\"a\"}", "1x40")], at: "19m" },
    }
}

/// An agent whose rules match nothing has nothing to tell, and no other alert would say so.
fn probe_watches_nothing() -> Alert {
    let targets = agent(Agent::Targets);
    let none = format!("sum by (job, instance, host) ({targets}) == 0\nand on (host)\nup{{job=\"{NODE_JOB}\"}} == 1");
    let log = "job, instance, host, target";
    let lost = format!(
        "max by ({log}) ({}{{class=\"wal\"}}) == 0\nand on ({log})\n{targets} > 0",
        agent(Agent::DirectoryFound)
    );
    Alert {
        name: "ProbeWatchesNothing",
        severity: Severity::Warning,
        component: "agent",
        subject: "agent-blind",
        expr: format!("({none})\nor\n({lost})"),
        wait: "5m",
        keep: "0s",
        summary: "{{ if $labels.target }}The log of {{ $labels.target }} is not found{{ else }}Nothing is watched{{ end }} on {{ $labels.host }}",
        description: "{{ if $labels.target }}None of its directories, as they are configured, is there{{ else }}A node runs there, and no process matches the agent's configuration{{ end }}: alerts on the log's fsyncs are silent.",
        fires: Fires {
            series: &[
                ("up{job=\"stemedb\", instance=\"a:18180\", host=\"a\"}", "1x40"),
                (
                    "stemedb_probe_targets{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\"}",
                    "1 0x40",
                ),
            ],
            not_yet: "5m",
            at: "5m30s",
            labels: &[("job", "stemedb-probe"), ("instance", "a:18190"), ("host", "a")],
            summary: "Nothing is watched on a",
            description: "A node runs there, and no process matches the agent's configuration: alerts on the log's fsyncs are silent.",
        },
        silent: Silent {
            // No node runs; and one of two directories is there.
            series: &[
                ("up{job=\"stemedb\", instance=\"a:18180\", host=\"a\"}", "0x40"),
                (
                    "stemedb_probe_targets{job=\"stemedb-probe\", instance=\"a:18190\", host=\"a\", target=\"db\"}",
                    "0x40",
                ),
                (
                    "stemedb_probe_targets{job=\"stemedb-probe\", instance=\"b:18190\", host=\"b\", target=\"db\"}",
                    "1x40",
                ),
                (
                    "stemedb_probe_class_directory_found{job=\"stemedb-probe\", instance=\"b:18190\", host=\"b\", target=\"db\", class=\"wal\", directory=\"/data/wal\"}",
                    "1x40",
                ),
                (
                    "stemedb_probe_class_directory_found{job=\"stemedb-probe\", instance=\"b:18190\", host=\"b\", target=\"db\", class=\"wal\", directory=\"/old/wal\"}",
                    "0x40",
                ),
            ],
            at: "19m",
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
        keep: "0s",
        summary: "The agent on {{ $labels.host }} sees less than it did: {{ $labels.capability }}",
        description: "`stemedb-probe doctor` tells why, and how to get it back: a new kernel or new settings, most likely. What is not mended within a day is told no more.",
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
            description: "`stemedb-probe doctor` tells why, and how to get it back: a new kernel or new settings, most likely. What is not mended within a day is told no more.",
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
            rate(&agent(Agent::Lost), &format!("{{reason!~\"{NOT_MISSING}\"}}"), by, "5m")
        ),
        wait: "5m",
        keep: "0s",
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
