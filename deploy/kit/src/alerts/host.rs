//! The machine.

use super::thresholds::{MEMORY_MUCH, NEARLY_FULL};
use super::{Alert, Fires, Severity, Silent};
use crate::names::NODE_JOB;
use crate::promql::memory;

pub(super) fn alerts() -> Vec<Alert> {
    vec![memory_exhaustion(), high_memory_usage()]
}

fn memory_exhaustion() -> Alert {
    Alert {
        name: "MemoryExhaustion",
        severity: Severity::Critical,
        component: "host",
        subject: "memory",
        expr: format!("{} > {NEARLY_FULL}", memory(&format!("{{job=\"{NODE_JOB}\"}}"))),
        wait: "2m",
        keep: "0s",
        summary: "{{ $labels.instance }} has nearly used up its memory",
        description: "It has {{ $value | humanizePercentage }} of what it may have. The kernel ends a process that has more.",
        fires: Fires {
            series: &[
                ("process_resident_memory_bytes{job=\"stemedb\", instance=\"a:18180\"}", "500 910x20"),
                ("stemedb_memory_limit_bytes{job=\"stemedb\", instance=\"a:18180\"}", "1000x20"),
            ],
            not_yet: "2m",
            at: "2m30s",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "a:18180 has nearly used up its memory",
            description: "It has 91% of what it may have. The kernel ends a process that has more.",
        },
        silent: Silent {
            series: &[
                ("process_resident_memory_bytes{job=\"stemedb\", instance=\"a:18180\"}", "899x20"),
                ("stemedb_memory_limit_bytes{job=\"stemedb\", instance=\"a:18180\"}", "1000x20"),
            ],
            at: "9m",
        },
    }
}

fn high_memory_usage() -> Alert {
    Alert {
        name: "HighMemoryUsage",
        severity: Severity::Info,
        component: "host",
        subject: "memory",
        expr: format!("{} > {MEMORY_MUCH}", memory(&format!("{{job=\"{NODE_JOB}\"}}"))),
        wait: "5m",
        keep: "0s",
        summary: "{{ $labels.instance }} uses much of its memory",
        description: "It has {{ $value | humanizePercentage }} of what it may have.",
        fires: Fires {
            series: &[
                ("process_resident_memory_bytes{job=\"stemedb\", instance=\"a:18180\"}", "500 710x20"),
                ("stemedb_memory_limit_bytes{job=\"stemedb\", instance=\"a:18180\"}", "1000x20"),
            ],
            not_yet: "5m",
            at: "5m30s",
            labels: &[("job", "stemedb"), ("instance", "a:18180")],
            summary: "a:18180 uses much of its memory",
            description: "It has 71% of what it may have.",
        },
        silent: Silent {
            series: &[
                ("process_resident_memory_bytes{job=\"stemedb\", instance=\"a:18180\"}", "700x20"),
                ("stemedb_memory_limit_bytes{job=\"stemedb\", instance=\"a:18180\"}", "1000x20"),
            ],
            at: "9m",
        },
    }
}
