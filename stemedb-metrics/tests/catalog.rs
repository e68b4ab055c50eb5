//! What is exported is what the catalogue says, and all of it.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test that cannot go on panics; figures are whole numbers")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use axum::Router;
use stemedb_metrics::catalog::{Kind, METRICS};
use stemedb_metrics::{
    BreakerState, Cache, Class, Compaction, Direction, Discard, Layer, NodeState, Operation, SyncOutcome, label_values,
};
use support::{Server, samples};

label_values! {
    enum Backend { One = "one", Two = "two" }
}

/// Every handle, used once.
fn used() -> Server {
    let server = Server::start(|metrics| Router::new().merge(metrics.routes()));
    let metrics = &server.metrics;
    metrics.errors.count(&Class { kind: "io", layer: Layer::Storage });
    drop(metrics.storage.operation(Operation::Get, Backend::One).start());
    drop(metrics.storage.index(Backend::Two).start());
    for backend in [Backend::One, Backend::Two] {
        metrics.storage.cache(backend, || Cache { hits: 3, misses: 4, entries: Some(5), bytes: 6 }).unwrap();
        let compaction = || Compaction { pending_bytes: 7, runs: 8, seconds: 9.5, running: 1 };
        metrics.storage.compaction(backend, compaction).unwrap();
    }
    metrics.wal.committed(3);
    drop(metrics.wal.recovery().start());
    metrics.wal.recovered(2);
    metrics.wal.discarded(Discard::Torn, 17);
    metrics.cluster.members(|state| usize::from(state != NodeState::Dead), 3);
    metrics.cluster.joined();
    metrics.cluster.gossip(Direction::Sent).inc();
    let peer = metrics.cluster.peer("b");
    peer.behind(2, 0.5);
    peer.compared(SyncOutcome::Repaired, 4);
    metrics.domain.breakers(|state| usize::from(state == BreakerState::Open), 1.5);
    metrics.domain.tripped();
    metrics.domain.quarantined(1);
    metrics.domain.quarantine_added(1);
    metrics.domain.trust_decayed(SystemTime::UNIX_EPOCH + Duration::from_secs(5));
    metrics.domain.gold_standards(3);
    metrics.domain.api_key("k", SystemTime::UNIX_EPOCH + Duration::from_millis(2_500));
    metrics.domain.certificate("c", SystemTime::UNIX_EPOCH + Duration::from_secs(7));
    metrics.domain.memory_limit(1 << 30);
    assert!(server.ask("GET", "/metrics", "", "").contains("content-type: text/plain; version=0.0.4"));
    server.wait_for("stemedb_http_requests_in_flight", 0.0);
    server
}

#[test]
fn every_row_is_exported_with_its_type_its_help_and_its_labels() {
    let text = used().metrics.text();
    for row in METRICS {
        let name = format!("stemedb_{}", row.name);
        assert!(text.contains(&format!("# TYPE {name} {}\n", row.kind.word())), "{name} is missing:\n{text}");
        assert!(text.contains(&format!("# HELP {name} {}\n", row.help)), "{name}");
        let suffix = if matches!(row.kind, Kind::Latency | Kind::Size) { "_count" } else { "" };
        let all = samples(&text);
        let begin = format!("{name}{suffix}");
        let labels = all.keys().find_map(|key| {
            let rest = key.strip_prefix(&begin)?;
            (rest.is_empty() || rest.starts_with('{')).then(|| rest.to_owned())
        });
        let labels = labels.unwrap_or_else(|| panic!("no sample of {name}"));
        let names: BTreeSet<&str> =
            labels.trim_matches(['{', '}']).split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
        assert_eq!(names, row.labels.iter().copied().collect(), "{name}");
    }
}

#[test]
fn nothing_else_is_exported_but_what_every_process_has() {
    let text = used().metrics.text();
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let known: BTreeSet<String> = METRICS.iter().map(|row| format!("stemedb_{}", row.name)).collect();
    let others: Vec<&str> = names.filter(|name| !known.contains(*name) && !name.starts_with("process_")).collect();
    assert_eq!(others, [""; 0]);
}

#[test]
fn figures_are_those_that_were_given() {
    let samples: BTreeMap<String, f64> = samples(&used().metrics.text());
    let expected = [
        ("stemedb_storage_cache_hits_total{backend=\"two\"}", 3.0),
        ("stemedb_storage_compaction_seconds_total{backend=\"one\"}", 9.5),
        ("stemedb_wal_recovery_discarded_bytes_total{reason=\"torn\"}", 17.0),
        ("stemedb_wal_recovery_discarded_bytes_total{reason=\"corrupt\"}", 0.0),
        ("stemedb_cluster_nodes{state=\"dead\"}", 0.0),
        ("stemedb_cluster_nodes_expected", 3.0),
        ("stemedb_cluster_quorum", 0.0),
        ("stemedb_sync_operations_total{outcome=\"repaired\",peer=\"b\"}", 1.0),
        ("stemedb_cluster_converged{peer=\"b\"}", 0.0),
        ("stemedb_circuit_breakers{state=\"open\"}", 1.0),
        ("stemedb_api_key_created_timestamp_seconds{key=\"k\"}", 2.5),
        ("stemedb_wal_batch_size_bucket{le=\"2\"}", 0.0),
        ("stemedb_wal_batch_size_bucket{le=\"4\"}", 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
}

#[test]
fn a_second_engine_by_one_name_is_an_error_and_not_a_panic() {
    let metrics = stemedb_metrics::Metrics::new().unwrap();
    metrics.storage.cache(Backend::One, Cache::default).unwrap();
    let error = metrics.storage.cache(Backend::One, Cache::default).unwrap_err().to_string();
    assert!(error.contains("cannot make the metrics"), "{error}");
    assert!(stemedb_metrics::Metrics::with_namespace("no name").is_err());
}

#[test]
fn what_nobody_has_said_is_not_there() {
    let text = stemedb_metrics::Metrics::new().unwrap().text();
    let silent =
        ["gold_standards", "memory_limit_bytes", "cluster_quorum", "trust_rank_decay_last_run_timestamp_seconds"];
    assert!(silent.iter().all(|name| !text.contains(name)), "{text}");
}

#[test]
fn two_of_them_are_apart() {
    let [one, other] = [(), ()].map(|()| stemedb_metrics::Metrics::new().unwrap());
    one.wal.committed(1);
    assert!(one.text().contains("stemedb_wal_batch_size_count 1"));
    assert!(other.text().contains("stemedb_wal_batch_size_count 0"));
}
