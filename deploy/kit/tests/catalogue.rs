//! Whatever rules ask for is in the catalogues, every alert that operators asked for is there, and each has a runbook.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use promql_parser::label::Labels;
use promql_parser::parser::{Expr, LabelModifier, parse};
use promql_parser::util::{ExprVisitor, walk_expr};
use stemedb_kit::alerts::{self, Severity};
use stemedb_kit::{dashboards, files, slo};
use stemedb_metrics::NAMESPACE;

/// What Prometheus adds to each sample: `host` by the scrape configuration's relabelling.
const ADDED: [&str; 3] = ["job", "instance", "host"];

/// What operators asked for, by severity, as `(critical, warning, info)`.
const ASKED: [&[&str]; 3] = [
    &[
        "StemeDBAPIDown",
        "WALDiskNearlyFull",
        "ReplicationLagCritical",
        "HighStorageErrorRate",
        "WALFsyncFailure",
        "ClusterSplitBrain",
        "MemoryExhaustion",
        "CertificateExpiringSoon",
    ],
    &[
        "WALFsyncSlow",
        "HighAPIErrorRate",
        "IndexLookupSlow",
        "WALDiskUsageHigh",
        "ReplicationLagWarning",
        "HighAPILatency",
        "StorageCompactionPending",
        "CircuitBreakerHalfOpen",
        "TrustRankDecayOverdue",
    ],
    &[
        "CircuitBreakerOpen",
        "QuarantineBacklogGrowing",
        "NewNodeJoined",
        "HighMemoryUsage",
        "APIKeyRotationDue",
        "GoldStandardCountLow",
        "CertificateExpiringIn30Days",
        "WALSegmentCountHigh",
        "LowQueryThroughput",
    ],
];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every metric that is exported or recorded, with its labels.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |name: String, labels: &[&str]| {
        known.entry(name).or_default().extend(labels.iter().chain(&ADDED).map(ToString::to_string));
    };
    for row in stemedb_probe::catalog::METRICS {
        for (name, labels) in row.names(NAMESPACE) {
            if row.kind == stemedb_probe::catalog::Kind::Histogram {
                add(format!("{name}_bucket"), &[&labels[..], &["le"]].concat());
                add(format!("{name}_sum"), &labels);
                add(format!("{name}_count"), &labels);
            } else {
                add(name, &labels);
            }
        }
    }
    for row in stemedb_metrics::catalog::METRICS {
        let name = format!("{NAMESPACE}_{}", row.name);
        if row.kind.word() == "histogram" {
            add(format!("{name}_bucket"), &[row.labels, &["le"]].concat());
            add(format!("{name}_sum"), row.labels);
            add(format!("{name}_count"), row.labels);
        } else {
            add(name, row.labels);
        }
    }
    add("up".into(), &[]);
    for window in ["5m", "30m", "1h", "6h"] {
        add(format!("{}{window}", slo::API_RATIO), &[]);
        add(format!("{}{window}", slo::FSYNC_RATIO), &["target"]);
    }
    add("stemedb:disk_written_bytes:rate5m".into(), &["target", "device"]);
    add("stemedb:written_bytes:rate5m".into(), &["target"]);
    add("stemedb:write_amplification:ratio5m".into(), &["target", "device"]);
    known
}

/// Looks at each part of an expression.
struct Checker<'a> {
    known: &'a BTreeMap<String, BTreeSet<String>>,
    wrong: Vec<String>,
    /// Labels of all selectors so far.
    labels: BTreeSet<String>,
}

impl Checker<'_> {
    fn labels_are_known(&mut self, what: &str, labels: &Labels, expr: &Expr) {
        let mut below = Checker { known: self.known, wrong: Vec::new(), labels: BTreeSet::new() };
        walk_expr(&mut below, expr).unwrap();
        for label in &labels.labels {
            if !below.labels.contains(label) {
                self.wrong.push(format!("{what} ({label}): nothing in {expr} has that label"));
            }
        }
    }
}

impl ExprVisitor for Checker<'_> {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        let selector = match expr {
            Expr::VectorSelector(selector) => Some(selector),
            Expr::MatrixSelector(matrix) => Some(&matrix.vs),
            Expr::Aggregate(aggregate) => {
                if let Some(LabelModifier::Include(labels)) = &aggregate.modifier {
                    self.labels_are_known("by", labels, &aggregate.expr);
                }
                None
            }
            Expr::Binary(binary) => {
                if let Some(LabelModifier::Include(labels)) = binary.modifier.as_ref().and_then(|m| m.matching.as_ref())
                {
                    self.labels_are_known("on", labels, &binary.lhs);
                    self.labels_are_known("on", labels, &binary.rhs);
                }
                None
            }
            _ => None,
        };
        let Some(selector) = selector else { return Ok(true) };
        let name = selector.name.clone().unwrap_or_default();
        match self.known.get(&name) {
            None => self.wrong.push(format!("nothing exports {name}")),
            Some(labels) => {
                for matcher in selector.matchers.matchers.iter().filter(|matcher| !labels.contains(&matcher.name)) {
                    self.wrong.push(format!("{name} has no label {}", matcher.name));
                }
                self.labels.extend(labels.iter().cloned());
            }
        }
        Ok(true)
    }
}

/// What is wrong with an expression.
fn wrong(expr: &str) -> Vec<String> {
    let known = known();
    let mut checker = Checker { known: &known, wrong: Vec::new(), labels: BTreeSet::new() };
    match parse(expr) {
        Ok(expr) => drop(walk_expr(&mut checker, &expr)),
        Err(error) => checker.wrong.push(error),
    }
    checker.wrong
}

/// Each bound of a histogram in the cases of an alert is one that is exported: between others a quantile would be another.
#[test]
fn cases_have_the_bounds_of_the_histograms() {
    let bounds = stemedb_metrics::bounds::latency();
    let bounds: BTreeSet<String> = bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]).collect();
    let mut seen = 0;
    for alert in alerts::all() {
        for (series, _) in alert.fires.series.iter().chain(alert.silent.series) {
            let Some((_, rest)) = series.split_once("le=\"") else { continue };
            let bound = rest.split('"').next().unwrap();
            assert!(bounds.contains(bound), "{}: nothing exports the bound {bound}: {series}", alert.name);
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} bounds");
}

/// Reasons of losses that an alert leaves out are reasons of losses.
#[test]
fn every_reason_is_one() {
    for alert in alerts::all() {
        for rest in alert.expr.split("reason!~\"").skip(1) {
            for reason in rest.split('"').next().unwrap().split('|') {
                assert!(stemedb_ebpf::LOST.iter().any(|(name, _)| *name == reason), "{}: {reason}", alert.name);
            }
        }
    }
}

/// The expressions of a rule file: blocks after `expr:`.
fn expressions(text: &str) -> Vec<String> {
    let (mut all, mut lines) = (Vec::new(), text.lines().peekable());
    while let Some(line) = lines.next() {
        let Some((before, after)) = line.split_once("expr: ") else { continue };
        if !after.starts_with(['|', '>']) {
            all.push(after.to_owned());
            continue;
        }
        let mut block = String::new();
        while let Some(line) = lines.next_if(|line| line.len() - line.trim_start().len() > before.len()) {
            block += line.trim();
            block.push('\n');
        }
        all.push(block);
    }
    all
}

#[test]
fn a_planted_mistake_is_found() {
    for (expr, word) in [
        ("stemedb_wal_fsync_seconds", "nothing exports"),
        ("rate(stemedb_wal_writes_total{class=\"wal\"}[5m])", "no label class"),
        ("sum by (peer) (stemedb_cluster_quorum)", "peer"),
        ("stemedb_cluster_quorum / on (device) stemedb_cluster_nodes_expected", "device"),
        ("sum(", ""),
    ] {
        let found = wrong(expr);
        assert!(!found.is_empty() && found[0].contains(word), "{expr}: {found:?}");
    }
    assert_eq!(wrong("sum by (job, le) (rate(stemedb_wal_fsync_latency_seconds_bucket{op=\"fsync\"}[5m]))"), [""; 0]);
}

#[test]
fn every_metric_and_label_in_rules_is_exported() {
    let mut seen = 0;
    let rules = |name: &str| name.contains("/alerts/") && !name.ends_with("tests.yml") || name.ends_with("/slo.yml");
    let generated = files().into_iter().filter(|(name, _)| rules(name));
    let by_hand = fs::read_to_string(deploy().join("prometheus/recording.yml")).unwrap();
    for (name, text) in generated.chain([("prometheus/recording.yml".to_owned(), by_hand)]) {
        for expr in expressions(&text) {
            assert_eq!(wrong(&expr), [""; 0], "{name}: {expr}");
            seen += 1;
        }
    }
    assert_eq!(seen, alerts::all().len() + 8 + 3, "every rule has an expression");
}

#[test]
fn every_alert_that_was_asked_for_is_there_with_its_severity() {
    let all = alerts::all();
    for (severity, names) in Severity::ALL.into_iter().zip(ASKED) {
        for name in names {
            let found = all.iter().find(|alert| alert.name == *name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(found.severity, severity, "{name}");
        }
    }
    let names: BTreeSet<&str> = all.iter().map(|alert| alert.name).collect();
    assert_eq!(names.len(), all.len(), "two alerts have one name");
    for alert in &all {
        // As it is read: what stands in braces becomes a word.
        let read = alert.summary.split("{{").map(|part| part.split("}}").last().unwrap().len()).sum::<usize>();
        assert!(read < 100, "{}: {}", alert.name, alert.summary);
        assert!(alert.description.ends_with(['.', '?']), "{}: {}", alert.name, alert.description);
    }
}

#[test]
fn every_alert_has_a_runbook_and_no_runbook_is_without_one() {
    let folder = deploy().join("runbooks");
    let all: BTreeSet<String> = alerts::all().iter().map(|alert| format!("{}.md", alert.name)).collect();
    let there: BTreeSet<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, all);
    for name in &all {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let title = name.trim_end_matches(".md");
        let parts = ["## What it means", "## How to see it", "## What to do", "## How to know that it is over"];
        assert!(text.starts_with(&format!("# {title}\n")) && parts.iter().all(|part| text.contains(part)), "{name}");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            assert!(folder.join(link).exists(), "{name} links to {link}");
        }
    }
}

#[test]
fn what_is_generated_is_what_is_there() {
    for (name, wanted) in files() {
        let there = fs::read_to_string(deploy().join(&name)).unwrap_or_default();
        assert!(there == wanted, "{name} is stale: run `cargo xtask kit`");
    }
}

/// Grafana's variables for durations, as some durations.
fn without_variables(expr: &str) -> String {
    expr.replace("$__rate_interval", "5m").replace("$__range", "1h")
}

#[test]
fn every_metric_and_label_on_boards_is_exported() {
    let mut seen = 0;
    for board in dashboards::all() {
        for query in board.rows.iter().flat_map(|(_, panels)| panels).flat_map(|panel| &panel.queries) {
            assert_eq!(wrong(&without_variables(&query.expr)), [""; 0], "{}: {}", board.title, query.expr);
            seen += 1;
        }
        for variable in &board.variables {
            let inside = variable.values.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (selector, label) = inside.rsplit_once(", ").unwrap();
            // Whoever has a series has the label.
            assert_eq!(wrong(&format!("sum by ({label}) ({selector})")), [""; 0], "{}: {}", board.title, variable.name);
        }
    }
    assert!(seen > 60, "{seen} queries");
}

#[test]
fn every_panel_says_what_it_shows_and_uses_the_variables_of_its_board() {
    for board in dashboards::all() {
        let known: BTreeSet<&str> = board.variables.iter().map(|variable| variable.name).collect();
        let mut titles = BTreeSet::new();
        for panel in board.rows.iter().flat_map(|(_, panels)| panels) {
            assert!(titles.insert(panel.title), "{}: two panels are called {}", board.title, panel.title);
            assert!(panel.about.ends_with('.') && !panel.queries.is_empty() && panel.width <= 24, "{}", panel.title);
            for name in panel.runbooks {
                assert!(alerts::all().iter().any(|alert| alert.name == *name), "{}: no runbook {name}", panel.title);
            }
            for query in &panel.queries {
                let used = query
                    .expr
                    .split('$')
                    .skip(1)
                    .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
                for name in used.filter_map(|mut words| words.next()).filter(|name| !name.starts_with("__")) {
                    assert!(known.contains(name), "{}: {} has no variable {name}", board.title, panel.title);
                }
            }
        }
    }
}

/// What no board shows: an operator need have neither keys nor certificates.
const WITHOUT_PANEL: [&str; 3] = ["APIKeyRotationDue", "CertificateExpiringIn30Days", "CertificateExpiringSoon"];

#[test]
fn every_alert_has_a_panel_that_leads_to_its_runbook() {
    let boards = dashboards::all();
    let panels = boards.iter().flat_map(|board| &board.rows).flat_map(|(_, panels)| panels);
    let linked: BTreeSet<&str> = panels.flat_map(|panel| panel.runbooks.iter().copied()).collect();
    let all = alerts::all();
    let without = all.iter().map(|alert| alert.name).filter(|name| !linked.contains(name));
    assert_eq!(without.collect::<BTreeSet<_>>(), BTreeSet::from(WITHOUT_PANEL));
}

/// What operators asked for, by board: words of titles.
const PANELS: [(&str, &[&str]); 4] = [
    (
        "stemedb-storage",
        &[
            "WAL fsync latency",
            "WAL disk",
            "WAL writes",
            "WAL bytes written",
            "WAL errors",
            "Storage operation latency",
            "Index look-up latency",
            "Storage operations",
        ],
    ),
    (
        "stemedb-cluster",
        &[
            "Node status",
            "Replication lag by peer",
            "Sync operations",
            "Merkle diff size",
            "Converged",
            "Gossip messages",
        ],
    ),
    (
        "stemedb-sli",
        &[
            "Request rate by endpoint",
            "Request latency, all of it",
            "Errors by type",
            "Availability",
            "Status",
            "Request latency",
            "Circuit breakers",
        ],
    ),
    (
        "stemedb-correlation",
        &[
            "API latency over the log's fsync",
            "Time in fsync, by phase",
            "Queue and device",
            "Write amplification",
            "Errors",
            "The longest fsync",
        ],
    ),
];

#[test]
fn every_panel_that_was_asked_for_is_there() {
    let refresh = [("stemedb-storage", "30s"), ("stemedb-cluster", "10s"), ("stemedb-sli", "15s")];
    for (uid, titles) in PANELS {
        let board = dashboards::all().into_iter().find(|board| board.uid == uid).unwrap();
        for title in titles {
            let found = board.rows.iter().flat_map(|(_, panels)| panels).any(|panel| panel.title.starts_with(title));
            assert!(found, "{uid} has no {title}");
        }
        let wanted = refresh.iter().find(|(one, _)| *one == uid).map_or(board.refresh, |(_, refresh)| refresh);
        assert_eq!(board.refresh, wanted, "{uid}");
    }
}
