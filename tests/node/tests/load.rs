//! What a load counts is what the node counts, by method, path and status.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test that cannot go on panics; figures are whole numbers")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};
use support::Node;

/// Runs the load, and gives its report.
fn load(node: &Node, arguments: &[&str]) -> (bool, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stemedb-load"));
    let output = command.args(["--json", "--node", &node.url]).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("{error}: {said:?} {}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.success(), report)
}

type Counts = BTreeMap<(String, String), f64>;

/// The samples of a metric by method and path, those of what this test asks left out.
fn counts(node: &Node, name: &str, label: &str) -> Counts {
    let label_of = |key: &str, label: &str| {
        let (_, rest) = key.split_once(&format!("{label}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let samples = node.samples().0;
    let of_it =
        samples.iter().filter(|(key, _)| key.starts_with(&format!("{name}{{")) && !key.contains("\"/metrics\""));
    let mut counts = Counts::new();
    for (key, value) in of_it {
        let route = format!("{} {}", label_of(key, "method"), label_of(key, "path"));
        let of = if label.is_empty() { String::new() } else { label_of(key, label) };
        *counts.entry((route, of)).or_default() += value;
    }
    counts
}

#[test]
fn a_load_and_the_node_count_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    let (well, report) = load(&node, &["--seconds", "3", "--rate", "300", "--bad", "0.1"]);
    assert!(well && report["failed"] == 0 && report["not_sent"] == 0, "{report}");
    let (mut requests, mut durations, mut errors) = (Counts::new(), Counts::new(), 0.0);
    for row in report["routes"].as_array().unwrap() {
        let route = format!("{} {}", row["method"].as_str().unwrap(), row["path"].as_str().unwrap());
        for (status, count) in row["statuses"].as_object().unwrap() {
            let count = count.as_f64().unwrap();
            *requests.entry((route.clone(), String::new())).or_default() += count;
            durations.insert((route.clone(), status.clone()), count);
            if status.starts_with('4') {
                errors += count;
            }
        }
    }
    assert!(requests.len() > 12 && errors > 20.0, "{report}");
    assert_eq!(counts(&node, "stemedb_http_requests_total", ""), requests);
    assert_eq!(counts(&node, "stemedb_http_request_duration_seconds_count", "status"), durations);
    let samples = node.samples();
    assert_eq!(samples.value("stemedb_errors_total", &[]), errors, "every refusal is an error that is counted once");
    assert_eq!(samples.value("stemedb_http_responses_aborted_total", &[]), 0.0);
    // The log's own count.
    let wal = node.send("GET", "/v1/admin/wal", &json!(null)).1;
    assert_eq!(samples.value("stemedb_wal_batch_size_sum", &[]), wal["entries"].as_f64().unwrap());
    assert_eq!(samples.value("stemedb_wal_batch_size_count", &[]), wal["commits"].as_f64().unwrap());
}

#[test]
fn a_load_on_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path());
    node.child.kill().unwrap();
    node.child.wait().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stemedb-load")).args(["--node", &node.url]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("does not take PUT /v1/claim/claim-0"), "{said}");
}

#[test]
fn requests_without_an_answer_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(node.child.id()).unwrap());
    let url = node.url.clone();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_stemedb-load"));
    let output = command.args(["--json", "--node", &url, "--seconds", "2", "--rate", "200"]).output().unwrap();
    killer.join().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(report["failed"].as_u64().unwrap() > 50 && report["answered"].as_u64().unwrap() > 50, "{report}");
}
