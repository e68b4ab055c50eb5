//! Expressions that several rules and boards have.

use stemedb_metrics::catalog::Id as Node;
use stemedb_probe::catalog::Id as Agent;

use crate::names::{agent, node};

/// The window of alerts.
pub const WINDOW: &str = "5m";

/// A quantile of a histogram by some labels beside `le`, over a window.
#[must_use]
pub fn quantile(quantile: f64, name: &str, selector: &str, by: &str, window: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("{by}, le") };
    format!("histogram_quantile({quantile}, {})", rate(&format!("{name}_bucket"), selector, &by, window))
}

/// What a counter grew by over a window, by some labels. Prometheus' own `increase` begins with the first sample that it has of a series: of one
/// that is born with the first failure, and stays as it is, it says nothing. Here a series that was not there when the window began, of a target
/// that was, counts from zero.
#[must_use]
pub fn growth(name: &str, selector: &str, by: &str, window: &str) -> String {
    let counter = format!("{name}{selector}");
    format!(
        "sum by ({by}) (\n  ({counter} unless {counter} offset {window}) and on (job, instance) (up offset {window} == 1)\n  or\n  increase({counter}[{window}])\n)"
    )
}

/// The p99 of fsyncs of the log, by some labels.
#[must_use]
pub fn fsync_p99(by: &str) -> String {
    quantile(0.99, &agent(Agent::FsyncLatency), "", by, WINDOW)
}

/// The p99 of fsyncs of a machine's slowest log.
#[must_use]
pub fn slowest_log() -> String {
    format!("max by (host) ({})", fsync_p99("host, target"))
}

/// What is slow on a machine where a job of the kit is looked at, and something else of it is not; what does nothing is not slow either.
#[must_use]
pub fn slow_alone(slow: &str, job: &str, other: &str) -> String {
    format!("{slow}\nand on (host)\nup{{job=\"{job}\"}} == 1\nunless on (host)\n{other}")
}

/// The p99 of requests, by some labels.
#[must_use]
pub fn request_p99(by: &str) -> String {
    quantile(0.99, &node(Node::HttpDuration), &format!("{{{API}}}"), by, WINDOW)
}

/// Above zero: what a counter grew by in five minutes, by some labels.
#[must_use]
pub fn grown(name: &str, selector: &str, by: &str) -> String {
    format!("{} > 0", growth(name, selector, by, WINDOW))
}

/// The rate of a counter by some labels, over a window.
#[must_use]
pub fn rate(name: &str, selector: &str, by: &str, window: &str) -> String {
    format!("sum by ({by}) (rate({name}{selector}[{window}]))")
}

/// The share of its memory that a node has.
#[must_use]
pub fn memory(selector: &str) -> String {
    format!("process_resident_memory_bytes{selector} / on (job, instance) {}{selector}", node(Node::MemoryLimit))
}

/// The requests of clients: what Prometheus, load balancers and other nodes ask is none of them.
pub const API: &str = "path!~\"/metrics|/healthz|/readyz|/v1/peer/.*\"";

/// Targets of a job that do not answer; and the job, where all of its targets have left what Prometheus discovers within a day. (Of one that has
/// never had any, nothing: who has no nodes is not to hear of it. Of one target that leaves, nothing either: that is how a pod is replaced.)
#[must_use]
pub fn down(job: &str) -> String {
    format!(
        "up{{job=\"{job}\"}} == 0\nor\n(count by (job) (count_over_time(up{{job=\"{job}\"}}[1d])) unless count by (job) (up{{job=\"{job}\"}}))"
    )
}
