//! Four boards for Grafana, each with a file of its own.

mod cluster;
mod correlation;
mod model;
mod panel;
mod sli;
mod storage;

use stemedb_metrics::catalog::Id as Node;
use stemedb_probe::catalog::Id as Agent;

use crate::names::{AGENT_JOB, NODE_JOB, agent, node};
use crate::promql::{self, API};

pub use model::{Board, Variable};
pub use panel::{Panel, Query, Shape};

/// What queries of the node's own metrics are limited to.
const OF_NODE: &str = "job=~\"$job\", instance=~\"$instance\"";
/// What queries of the agent's are: of the same machines, by their label `host`.
const OF_AGENT: &str = "job=\"stemedb-probe\", host=~\"$host\", target=~\"$target\"";
/// The same without the target, for what the agent tells of itself.
const OF_HOST: &str = "job=\"stemedb-probe\", host=~\"$host\"";
/// The same for disks.
const OF_DISK: &str = "job=\"stemedb-probe\", host=~\"$host\", device=~\"$device\"";
/// The window of rates, which Grafana chooses by the time that is shown.
const WINDOW: &str = "$__rate_interval";

/// Words for a flag, and their colours.
const YES_OR_NO: &[(&str, &str, &str)] = &[("0", "no", "red"), ("1", "yes", "green")];

/// Every board.
#[must_use]
pub fn all() -> Vec<Board> {
    vec![storage::board(), cluster::board(), sli::board(), correlation::board()]
}

/// A selector of more labels.
fn with(base: &str, more: &str) -> String {
    if more.is_empty() { format!("{{{base}}}") } else { format!("{{{base}, {more}}}") }
}

/// A rate, summed by some labels.
fn rate(name: &str, selector: &str, by: &str) -> String {
    promql::rate(name, selector, by, WINDOW)
}

/// A quantile of a histogram, by some labels beside `le`.
fn quantile(quantile: f64, name: &str, selector: &str, by: &str) -> String {
    promql::quantile(quantile, name, selector, by, WINDOW)
}

/// An expression, or 0 with a name of its own where it gives nothing: all is well, and not that nobody looks.
fn or_none(expr: &str, label: &str, name: &str) -> String {
    format!("{expr} or on () label_replace(vector(0), \"{label}\", \"{name}\", \"\", \"\")")
}

/// The three quantiles of a histogram as queries of one panel.
fn quantiles(panel: Panel, name: &str, selector: &str) -> Panel {
    panel
        .ask(quantile(0.5, name, selector, ""), "p50")
        .ask(quantile(0.95, name, selector, ""), "p95")
        .ask(quantile(0.99, name, selector, ""), "p99")
}

/// The variables: which of the nodes.
fn of_nodes() -> Vec<Variable> {
    let up = format!("up{{job=\"{NODE_JOB}\"}}");
    vec![
        Variable { name: "job", label: "Job", values: format!("label_values({up}, job)") },
        Variable { name: "instance", label: "Node", values: "label_values(up{job=~\"$job\"}, instance)".into() },
    ]
}

/// The variables: which machines and targets of the agents, and more of theirs.
fn of_agents(more: &[&'static str]) -> Vec<Variable> {
    let targets = agent(Agent::Targets);
    let mut all = vec![
        Variable { name: "host", label: "Host", values: format!("label_values(up{{job=\"{AGENT_JOB}\"}}, host)") },
        Variable {
            name: "target",
            label: "Target",
            values: format!("label_values({targets}{{host=~\"$host\"}}, target)"),
        },
    ];
    for name in more {
        let values = match *name {
            "class" => format!("label_values({}{{host=~\"$host\"}}, class)", agent(Agent::DiskBytes)),
            _ => format!("label_values({}{{host=~\"$host\"}}, device)", agent(Agent::DiskIos)),
        };
        let label = if *name == "class" { "Class" } else { "Device" };
        all.push(Variable { name, label, values });
    }
    all
}

/// The API's own requests, of the nodes that are chosen.
fn requests(more: &str) -> String {
    with(&format!("{OF_NODE}, {API}"), more)
}

/// The histogram of requests.
fn request_duration() -> String {
    node(Node::HttpDuration)
}

/// The histogram of the log's sync calls.
fn fsync_latency() -> String {
    agent(Agent::FsyncLatency)
}
