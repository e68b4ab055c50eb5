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

/// What a counter grew by in five minutes, by some labels.
#[must_use]
pub fn increase(name: &str, selector: &str, by: &str) -> String {
    format!("sum by ({by}) (increase({name}{selector}[5m]))")
}

/// The p99 of fsyncs of the log, by some labels.
#[must_use]
pub fn fsync_p99(by: &str) -> String {
    quantile(0.99, &agent(Agent::FsyncLatency), "", by, WINDOW)
}

/// The p99 of requests, by some labels.
#[must_use]
pub fn request_p99(by: &str) -> String {
    quantile(0.99, &node(Node::HttpDuration), &format!("{{{API}}}"), by, WINDOW)
}

/// Above zero: what a counter grew by in five minutes, by some labels; one that began above zero meanwhile counts from zero.
#[must_use]
pub fn grown(name: &str, selector: &str, by: &str) -> String {
    format!(
        "{} > 0\nor\nsum by ({by}) (({name}{selector} unless {name}{selector} offset 5m) and on (job, instance) (up offset 5m == 1)) > 0",
        increase(name, selector, by)
    )
}

/// The rate of a counter by some labels, over a window.
#[must_use]
pub fn rate(name: &str, selector: &str, by: &str, window: &str) -> String {
    format!("sum by ({by}) (rate({name}{selector}[{window}]))")
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
