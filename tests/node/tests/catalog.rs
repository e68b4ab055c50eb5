//! Every metric of `stemedb-metrics` is one that the node sets, so that no board and no alert waits for what never comes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use stemedb_metrics::catalog::{Kind, METRICS};
use support::{Node, free_addresses};

#[test]
fn a_cluster_under_load_exports_the_whole_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = concat!("edge=", env!("CARGO_MANIFEST_DIR"), "/fixtures/expires-2030-01-02.pem");
    let addresses = free_addresses::<2>();
    let start = |place: usize| {
        let name = |place: usize| format!("node-{}", place + 1);
        let peer = format!("{}={}", name(1 - place), addresses[1 - place]);
        let secret = support::secret(folder.path());
        let arguments = [
            "--name",
            &name(place),
            "--peer",
            &peer,
            "--secret",
            &secret,
            "--compare-every",
            "1",
            "--certificate",
            certificate,
        ];
        let arguments = arguments.map(str::to_owned);
        Node::start_as(&folder.path().join(name(place)), addresses[place], &arguments, None)
    };
    let nodes = [start(0), start(1)];
    let load = Command::new(env!("CARGO_BIN_EXE_stemedb-load"))
        .args(["--node", &nodes[0].url, "--seconds", "2", "--rate", "200", "--bad", "0.1"])
        .output();
    assert!(load.unwrap().status.success());
    assert_eq!(nodes[0].send("POST", "/v1/admin/decay", &json!(null)).0, 200);
    // From here on, the operator's work needs it.
    assert_eq!(nodes[0].send("PUT", "/v1/admin/key/ops", &json!(null)).0, 200);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let samples = nodes[0].samples();
        let is_there = |name: &str, kind: Kind| {
            let name = match kind {
                Kind::Latency | Kind::Size => format!("stemedb_{name}_count"),
                Kind::Counter | Kind::Gauge => format!("stemedb_{name}"),
            };
            samples.0.keys().any(|key| key.split('{').next() == Some(&name))
        };
        let missing: Vec<&str> =
            METRICS.iter().filter(|row| !is_there(row.name, row.kind)).map(|row| row.name).collect();
        // A comparison comes once a second.
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "nothing sets {missing:?}");
        thread::sleep(Duration::from_millis(100));
    }
    // What one has is the other's too, and its metrics tell of it within a second or two.
    for name in ["stemedb_gold_standards", "stemedb_trust_rank_decay_last_run_timestamp_seconds"] {
        let [one, other] = [0, 1].map(|place: usize| move |nodes: &[Node; 2]| nodes[place].samples().value(name, &[]));
        while one(&nodes) <= 0.0 || (one(&nodes) - other(&nodes)).abs() > 1e-9 {
            assert!(Instant::now() < end, "{name}: {} and {}", one(&nodes), other(&nodes));
            thread::sleep(Duration::from_millis(100));
        }
    }
}
