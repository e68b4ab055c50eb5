//! SLI and Availability: what clients see.

use stemedb_metrics::catalog::Id as Node;

use super::model::Board;
use super::panel::{Shape, panel};
use super::{OF_NODE, WINDOW, of_nodes, quantiles, rate, request_duration, requests, with};
use crate::alerts::thresholds::{DECAY_HOURS, GOLD, REQUEST};
use crate::names::node;
use crate::promql::growth;
use crate::slo;

/// Colours of statuses: of two patterns that fit, the last.
const STATUS_COLOURS: &[(&str, &str)] = &[
    ("^[23]", "dark-green"),
    ("^200$", "green"),
    ("^201$", "light-green"),
    ("^4", "orange"),
    ("^404$", "light-yellow"),
    ("^422$", "yellow"),
    ("^429$", "dark-orange"),
    ("^5", "red"),
];
/// Colours of circuit breakers.
const STATE_COLOURS: &[(&str, &str)] = &[("^closed$", "green"), ("^half_open$", "orange"), ("^open$", "red")];

pub(super) fn board() -> Board {
    let nodes = with(OF_NODE, "");
    let count = format!("{}_count", request_duration());
    let all = requests("");
    let failed = requests("status=~\"5..\"");
    Board {
        uid: "stemedb-sli",
        title: "StemeDB: SLI and Availability",
        about: "How many requests, how fast, how many fail, and what is left of the error budget.",
        refresh: "15s",
        variables: of_nodes(),
        rows: vec![
            ("Availability", vec![
                panel("Availability", Shape::Gauge, "percentunit", "The share of requests that did not fail (status below 500), in the time that is shown.")
                    .ask(format!("1 - ({} or vector(0)) / {}", growth(&count, &failed, "", "$__range"), growth(&count, &all, "", "$__range")), "available")
                    .coloured(&[(0.0, "red"), (1.0 - 10.0 * slo::API_BUDGET, "orange"), (1.0 - slo::API_BUDGET, "green")]).wide(5).runbooks(&["APIAvailabilityBurnFast"]),
                panel("Requests", Shape::Figure, "reqps", "All routes.").ask(rate(&count, &all, "job"), "{{job}}").wide(4),
                panel("In flight", Shape::Figure, "short", "Requests that have begun and not ended.")
                    .ask(format!("sum({}{nodes})", node(Node::HttpInFlight)), "in flight").wide(3),
                panel("Error budget burn", Shape::Lines, "short", "How many times as fast as allowed the error budget of a month is used up: above 1 it does not last.")
                    .ask(format!("{}1h{{job=~\"$job\"}} / {}", slo::API_RATIO, slo::API_BUDGET), "API, one hour")
                    .ask(format!("{}6h{{job=~\"$job\"}} / {}", slo::API_RATIO, slo::API_BUDGET), "API, six hours")
                    .ask(format!("{}1h / {}", slo::FSYNC_RATIO, slo::FSYNC_BUDGET), "fsyncs of {{target}} on {{host}}, one hour")
                    .coloured(&[(slo::SLOW.rate, "orange"), (slo::FAST.rate, "red")]).runbooks(&["APIAvailabilityBurnFast", "APIAvailabilityBurnSlow", "WALFsyncBurnFast", "WALFsyncBurnSlow"]),
                panel("Status", Shape::Pie, "short", "Answers by status, in the time that is shown.")
                    .ask(format!("sum by (status) (increase({count}{all}[$__range]))"), "{{status}}").series(STATUS_COLOURS),
                panel("Errors by type", Shape::Stacked, "ops", "As each error counts itself.")
                    .ask(rate(&node(Node::Errors), &nodes, "type, layer"), "{{layer}}: {{type}}").wide(16).runbooks(&["HighAPIErrorRate", "HighStorageErrorRate"]),
            ]),
            ("Requests", vec![
                panel("Request rate by endpoint", Shape::Stacked, "reqps", "By method and template of the path.")
                    .ask(rate(&count, &all, "method, path"), "{{method}} {{path}}").runbooks(&["LowQueryThroughput"]),
                quantiles(
                    panel("Request latency", Shape::Lines, "s", "All routes: from the request to the last byte of the answer.").coloured(&[(REQUEST, "orange")]),
                    &request_duration(), &all,
                ).runbooks(&["HighAPILatency"]),
                panel("Request latency, all of it", Shape::Heatmap, "s", "How many requests took how long.")
                    .ask(format!("sum by (le) (increase({}_bucket{all}[{WINDOW}]))", request_duration()), "{{le}}"),
                panel("Slowest endpoints (p99)", Shape::Lines, "s", "The five routes with the highest p99.")
                    .ask(format!("topk(5, {})", super::quantile(0.99, &request_duration(), &all, "method, path")), "{{method}} {{path}}"),
            ]),
            ("Trust", vec![
                panel("Circuit breakers", Shape::Stacked, "short", "By state.")
                    .ask(format!("sum by (state) ({}{nodes})", node(Node::Breakers)), "{{state}}").series(STATE_COLOURS).wide(8).runbooks(&["CircuitBreakerHalfOpen", "CircuitBreakerOpen"]),
                panel("Quarantine", Shape::Lines, "short", "Votes that are held back, as each node has them.")
                    .ask(format!("max by (instance) ({}{nodes})", node(Node::Quarantined)), "{{instance}}").wide(8).runbooks(&["QuarantineBacklogGrowing"]),
                panel("Trust decayed", Shape::Figure, "s", "How long ago trust ranks last decayed, at whichever node.")
                    .ask(format!("time() - max({}{nodes})", node(Node::TrustDecay)), "ago")
                    .coloured(&[(3600.0 * DECAY_HOURS, "red")]).wide(4).runbooks(&["TrustRankDecayOverdue"]),
                panel("Gold standards", Shape::Figure, "short", "Claims whose answer is known: whom to trust is learnt from answers on these.")
                    .ask(format!("max({}{nodes})", node(Node::GoldStandards)), "claims")
                    .coloured(&[(0.0, "orange"), (GOLD, "green")]).wide(4).runbooks(&["GoldStandardCountLow"]),
            ]),
        ],
    }
}
