//! Both engines behave alike, keep what was flushed, and their figures are their own.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test that cannot go on panics; figures are whole numbers")]

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use stemedb_metrics::{Label as _, Metrics};
use stemedb_node::storage::{Change, Engine, Options, Store, Table};

fn small(folder: &Path) -> Options {
    Options { cache_bytes: 1 << 20, memtable_bytes: 64 << 10, ..Options::new(folder) }
}

fn change(table: Table, key: &[u8], value: Option<&[u8]>) -> Change {
    Change { table, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
}

/// The value of a sample.
fn sample(metrics: &Metrics, name: &str) -> Option<f64> {
    metrics.text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn both_engines_have_tables() {
    for engine in Engine::ALL {
        assert!(Table::ALL.iter().any(|table| table.engine() == *engine), "{engine:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever is done, each engine holds what a map holds, also after it was closed.
    #[test]
    fn an_engine_is_a_sorted_map(
        steps in prop::collection::vec((0..2_usize, prop::collection::vec(0..4_u8, 0..4), prop::option::of(0..9_u8)), 1..60),
        limit in 1..10_usize,
    ) {
        const TABLES: [Table; 2] = [Table::Votes, Table::Claims];
        let folder = tempfile::tempdir().unwrap();
        let mut model = [BTreeMap::new(), BTreeMap::new()];
        {
            let store = Store::open(&small(folder.path()), &Metrics::new().unwrap()).unwrap();
            let mut changes = Vec::new();
            for (which, key, value) in &steps {
                // fjall has no empty keys.
                let key = [&[7], &key[..]].concat();
                changes.push(change(TABLES[*which], &key, value.as_ref().map(std::slice::from_ref)));
                match value {
                    Some(value) => drop(model[*which].insert(key, vec![*value])),
                    None => drop(model[*which].remove(&key)),
                }
            }
            for some in changes.chunks(7) {
                store.apply(some).unwrap();
            }
            store.flush().unwrap();
        }
        let store = Store::open(&small(folder.path()), &Metrics::new().unwrap()).unwrap();
        for (table, model) in TABLES.into_iter().zip(&model) {
            let all = |prefix: &[u8], after: Option<&[u8]>, limit| store.of(table).scan(table, prefix, after, limit).unwrap();
            prop_assert_eq!(all(&[], None, 1_000), model.clone().into_iter().collect::<Vec<_>>());
            for (key, value) in model {
                let got = store.of(table).get(table, key).unwrap();
                prop_assert_eq!(got.as_ref(), Some(value));
                let after = model.range(key.clone()..).skip(1).filter(|(other, _)| other.starts_with(&[7, 1]));
                let after: Vec<_> = after.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
                prop_assert_eq!(all(&[7, 1], Some(key), limit), after);
            }
        }
    }
}

#[test]
fn operations_are_counted_by_engine_and_kind() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let store = Store::open(&small(folder.path()), &metrics).unwrap();
    store.apply(&[change(Table::Votes, b"a", Some(b"1")), change(Table::Claims, b"b", Some(b"2"))]).unwrap();
    store.apply(&[change(Table::Votes, b"a", None), change(Table::VotesByAgent, b"c", Some(b""))]).unwrap();
    store.of(Table::Claims).get(Table::Claims, b"b").unwrap();
    store.flush().unwrap();
    let expected = [
        ("fjall", "put", 1.0),
        ("redb", "put", 1.0),
        ("fjall", "batch", 1.0),
        ("redb", "get", 1.0),
        ("fjall", "flush", 1.0),
        ("fjall", "get", 0.0),
    ];
    for (engine, operation, count) in expected {
        let labels = format!("{{backend=\"{engine}\",operation=\"{operation}\"}}");
        assert_eq!(sample(&metrics, &format!("stemedb_storage_operations_total{labels}")), Some(count), "{labels}");
        let timed = format!("stemedb_storage_operation_duration_seconds_count{labels}");
        assert_eq!(sample(&metrics, &timed), Some(count), "{labels}");
    }
}

#[test]
fn figures_of_caches_and_compactions_are_the_engines_own() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let store = Store::open(&small(folder.path()), &metrics).unwrap();
    for round in 0..40_u32 {
        let some = (0..100_u32).flat_map(|n| {
            let key = (round * 7 + n).to_be_bytes();
            [change(Table::Votes, &key, Some(&[7; 100])), change(Table::Claims, &key, Some(&[7; 100]))]
        });
        store.apply(&some.collect::<Vec<_>>()).unwrap();
    }
    store.flush().unwrap();
    for table in [Table::Votes, Table::Claims] {
        for _ in 0..3 {
            store.of(table).scan(table, &[], None, 10_000).unwrap();
        }
    }
    for engine in Engine::ALL {
        let cache = store.engine(*engine).cache();
        let of =
            |name: &str| sample(&metrics, &format!("stemedb_storage_cache_{name}{{backend=\"{}\"}}", engine.as_str()));
        assert_eq!(of("hits_total"), Some(cache.hits as f64), "{engine:?}");
        assert_eq!(of("misses_total"), Some(cache.misses as f64), "{engine:?}");
        assert_eq!(of("entries"), cache.entries.map(|entries| entries as f64), "{engine:?}");
    }
    assert!(store.engine(Engine::BTree).cache().hits > 0);
    // What is written last is in memory, and too little to be written out at once.
    store.apply(&[change(Table::Votes, b"last", Some(&[7; 100]))]).unwrap();
    let of = |name: &str| sample(&metrics, &format!("stemedb_storage_compaction_{name}{{backend=\"fjall\"}}"));
    let pending = || store.engine(Engine::LogStructured).compaction().unwrap().pending_bytes;
    let (before, exported) = (0..100)
        .map(|_| (pending(), of("pending_bytes")))
        // The engine writes tables out in the background, and may have done so between the two.
        .find(|(before, _)| pending() == *before)
        .unwrap();
    assert_eq!(exported, Some(before as f64));
    assert!(before > 0, "what was just written waits");
    assert!(
        store.engine(Engine::BTree).compaction().is_none()
            && !metrics.text().contains("compaction_runs_total{backend=\"redb\"}")
    );
}

#[test]
fn a_store_that_cannot_be_opened_says_which_and_where() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("redb"), "no database").unwrap();
    let error = Store::open(&small(folder.path()), &Metrics::new().unwrap()).err().unwrap().to_string();
    assert!(error.contains("BTree") && error.contains(folder.path().to_str().unwrap()), "{error}");
}
