//! What the workload counted itself, beside what the agent counted in the kernel.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::status::{QUANTILES, Status};
use crate::view;

/// The workload's own counts, by class.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    classes: BTreeMap<String, Counts>,
}

/// By system call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    calls: BTreeMap<String, u64>,
    bytes: BTreeMap<String, u64>,
}

/// Calls and bytes of one system call on one class; bytes only where it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    calls: u64,
    bytes: Option<u64>,
}

impl Count {
    fn any(self) -> bool {
        self.calls > 0 || self.bytes.is_some_and(|bytes| bytes > 0)
    }
}

struct Row {
    class: String,
    op: String,
    kernel: Count,
    workload: Count,
}

impl Row {
    fn equal(&self) -> bool {
        // A call that wrote nothing is left out on one side, and a zero on the other.
        self.kernel.calls == self.workload.calls && self.kernel.bytes.unwrap_or(0) == self.workload.bytes.unwrap_or(0)
    }
}

impl Report {
    /// Reads the line that the workload prints at its end.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("cannot read the workload's counts: {line}"))
    }

    fn count(&self, class: &str, op: &str) -> Count {
        self.classes.get(class).map_or_else(Count::default, |counts| Count {
            calls: counts.calls.get(op).copied().unwrap_or(0),
            bytes: counts.bytes.get(op).copied(),
        })
    }
}

/// Everything the agent counted, by class and system call.
fn kernel(status: &Status) -> BTreeMap<(&str, &str), Count> {
    let mut counts: BTreeMap<(&str, &str), Count> = BTreeMap::new();
    for series in &status.series {
        counts.entry((&series.class, &series.op)).or_default().calls += series.calls;
    }
    for writes in &status.writes {
        for op in &writes.ops {
            let count = counts.entry((&writes.class, &op.op)).or_default();
            count.calls += op.calls;
            *count.bytes.get_or_insert(0) += op.bytes;
        }
    }
    counts
}

/// The closing text, and whether every call and every byte of the workload's classes is counted alike.
pub(crate) fn summary(status: &Status, report: &Report) -> (String, bool) {
    let kernel = kernel(status);
    let rows = rows(&kernel, report);
    let equal = rows.iter().all(Row::equal) && rows.iter().any(|row| row.workload.calls > 0);

    let mut lines = counted(&rows);
    let elsewhere = kernel.iter().filter(|((class, _), _)| !report.classes.contains_key(*class));
    for ((class, op), count) in elsewhere {
        lines.push(format!("elsewhere (class {class}): {op}, {} calls", view::grouped(count.calls)));
    }
    lines.push(String::new());
    lines.extend(latencies(status));
    lines.push(String::new());
    lines.push(lost(status));
    lines.push(if equal { "equal: every call and every byte".into() } else { "NOT equal".into() });
    (lines.join("\n"), equal)
}

fn rows(kernel: &BTreeMap<(&str, &str), Count>, report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    for (class, counts) in &report.classes {
        let of_kernel = kernel.keys().filter(|(other, _)| other == class).map(|(_, op)| *op);
        let ops: BTreeSet<&str> =
            counts.calls.keys().chain(counts.bytes.keys()).map(String::as_str).chain(of_kernel).collect();
        for op in ops {
            let (kernel, workload) =
                (kernel.get(&(class.as_str(), op)).copied().unwrap_or_default(), report.count(class, op));
            if kernel.any() || workload.any() {
                rows.push(Row { class: class.clone(), op: op.to_owned(), kernel, workload });
            }
        }
    }
    rows
}

fn counted(rows: &[Row]) -> Vec<String> {
    let header = ["class", "call", "kernel counted", "workload counted", "kernel bytes", "workload bytes", ""];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            // Only a call that writes has bytes.
            let writes = row.kernel.bytes.is_some() || row.workload.bytes.is_some();
            let bytes = |count: Count| if writes { view::grouped(count.bytes.unwrap_or(0)) } else { "-".into() };
            vec![
                row.class.clone(),
                row.op.clone(),
                view::grouped(row.kernel.calls),
                view::grouped(row.workload.calls),
                bytes(row.kernel),
                bytes(row.workload),
                if row.equal() { "=".into() } else { "DIFFERENT".into() },
            ]
        })
        .collect();
    view::table(&header, &cells, 2)
}

fn latencies(status: &Status) -> Vec<String> {
    let cells: Vec<Vec<String>> = status
        .classes()
        .into_iter()
        .map(|class| (class, status.latency(class)))
        .filter(|(_, latency)| latency.calls > 0)
        .map(|(class, latency)| {
            let mut row = vec![class.to_owned(), view::grouped(latency.calls)];
            row.extend(QUANTILES.map(|q| latency.quantile(q).map_or_else(|| "-".into(), view::seconds)));
            row.push(view::seconds(latency.max_ns as f64 / 1e9));
            row
        })
        .collect();
    view::table(&["class", "fsyncs", "p50", "p99", "p99.9", "max"], &cells, 1)
}

fn lost(status: &Status) -> String {
    let reasons: Vec<String> = status
        .lost
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{reason} {}", view::grouped(*count)))
        .collect();
    if reasons.is_empty() { "lost: 0".into() } else { format!("lost: {}", reasons.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::ANSWER;

    const REPORT: &str = r#"{"classes":{
        "wal":{"calls":{"write":5,"pwrite64":1,"fdatasync":12,"fsync":1},"bytes":{"write":20480,"pwrite64":10}},
        "store":{"calls":{"write":0},"bytes":{"write":0}}}}"#;

    fn summary_of(report: &str) -> (String, bool) {
        summary(&Status::parse(ANSWER).unwrap(), &Report::parse(report).unwrap())
    }

    #[test]
    fn equal_counts_are_equal() {
        let (text, equal) = summary_of(REPORT);
        assert!(equal, "{text}");
        assert!(text.ends_with("lost: 0\nequal: every call and every byte"), "{text}");
        assert!(text.contains("elsewhere (class other): write, 1 calls"), "{text}");
        assert!(!text.contains("DIFFERENT"), "{text}");
        assert!(text.contains("20,480"), "{text}");
    }

    #[test]
    fn one_call_or_one_byte_makes_a_difference() {
        for (from, to) in [("\"fdatasync\":12", "\"fdatasync\":13"), ("\"write\":20480", "\"write\":20481")] {
            let (text, equal) = summary_of(&REPORT.replace(from, to));
            assert!(!equal && text.ends_with("NOT equal"), "{text}");
            assert_eq!(text.matches("DIFFERENT").count(), 1, "{text}");
        }
    }

    #[test]
    fn a_call_that_only_one_side_knows_is_a_difference() {
        assert!(!summary_of(&REPORT.replace("\"fsync\":1", "\"msync\":0")).1, "the kernel alone");
        assert!(!summary_of(&REPORT.replace("\"write\":0}}", "\"write\":3}}")).1, "bytes of the workload alone");
        assert!(!summary_of(&REPORT.replace("{\"write\":0},", "{\"fsync\":3},")).1, "calls of the workload alone");
    }

    #[test]
    fn nothing_counted_is_not_equal() {
        let report = Report::parse(r#"{"classes":{"wal":{"calls":{},"bytes":{}}}}"#).unwrap();
        assert!(!summary(&Status::default(), &report).1);
    }

    #[test]
    fn what_was_lost_is_said() {
        let status = Status::parse(r#"{"lost":{"inflight_full":3,"ring_full":0}}"#).unwrap();
        assert_eq!(lost(&status), "lost: inflight_full 3");
    }
}
