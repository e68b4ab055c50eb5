//! The node is killed under load, again and again: what it has acknowledged is there, and how it recovered is told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::Node;

const KILLS: u64 = 100;
const CLIENTS: usize = 4;

/// All votes on the claim after one of them, page by page.
fn votes(node: &Node, after: Option<&String>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    loop {
        let after = ids.last().or(after).map(|id: &String| format!("&after={id}")).unwrap_or_default();
        let page = node.get(&format!("/v1/claim/c/votes?limit=1000{after}")).unwrap();
        let page: Vec<Value> = serde_json::from_str(&page).unwrap();
        if page.is_empty() {
            return ids;
        }
        ids.extend(page.iter().map(|vote| vote["id"].as_str().unwrap().to_owned()));
    }
}

/// Votes without end until told, and notes what was acknowledged.
fn vote(url: &str, agent: &str, stop: &AtomicBool, acknowledged: &Mutex<BTreeSet<String>>) {
    let client = ureq::agent();
    let vote = json!({ "agent": agent, "claim": "c", "choice": 1 }).to_string();
    while !stop.load(Ordering::Relaxed) {
        let request = client.post(format!("{url}/v1/vote")).header("content-type", "application/json");
        // The node may be gone; then nothing was promised.
        let Ok(mut response) = request.send(&vote) else { continue };
        let Ok(text) = response.body_mut().read_to_string() else { continue };
        let value: Value = serde_json::from_str(&text).unwrap();
        acknowledged.lock().unwrap().insert(value["id"].as_str().unwrap().to_owned());
    }
}

/// Those after one of them.
fn since(ids: &BTreeSet<String>, after: Option<&String>) -> BTreeSet<String> {
    ids.iter().filter(|id| after.is_none_or(|after| *id > after)).cloned().collect()
}

/// The last segment of the log.
fn last_segment(data: &Path) -> PathBuf {
    let paths = fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "wal")).max().unwrap()
}

#[test]
fn killed_a_hundred_times_no_acknowledged_vote_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let acknowledged = Mutex::new(BTreeSet::new());
    {
        let node = Node::start(&data);
        let claim = json!({ "text": "?", "choices": 2 }).to_string();
        let request = ureq::put(format!("{}/v1/claim/c", node.url)).header("content-type", "application/json");
        request.send(claim).unwrap();
    }
    let mut checked: Option<String> = None;
    for kill in 1..=KILLS {
        // Every tenth time as after a crash of the machine: the beginning of an entry is at the end of the log.
        let torn = kill % 10 == 0;
        if torn {
            let mut segment = fs::File::options().append(true).open(last_segment(&data)).unwrap();
            segment.write_all(&[200, 0, 0, 0, 1, 2, 3, 4, 5]).unwrap();
        }
        let node = Node::start(&data);
        assert!((node.sample("stemedb_wal_recovery_attempts_total") - 1.0).abs() < f64::EPSILON);
        assert!((node.sample("stemedb_wal_recovery_duration_seconds_count") - 1.0).abs() < f64::EPSILON);
        let discarded = node.sample("stemedb_wal_recovery_discarded_bytes_total{reason=\"torn\"}");
        assert!(!torn || discarded >= 9.0, "{discarded} bytes");
        // Ids are in the order of time: those of the life before. All of them are looked for at the end.
        let there = votes(&node, checked.as_ref());
        let lost: Vec<String> =
            since(&acknowledged.lock().unwrap(), checked.as_ref()).difference(&there).cloned().collect();
        assert!(lost.is_empty(), "{} are lost after kill {kill}, {} are there: {lost:?}", lost.len(), there.len());
        checked = there.last().cloned().or(checked);
        let (stop, url) = (AtomicBool::new(false), node.url.clone());
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (url, stop, acknowledged) = (&url, &stop, &acknowledged);
                scope.spawn(move || vote(url, &format!("agent-{client}"), stop, acknowledged));
            }
            // At another moment each time.
            thread::sleep(Duration::from_millis(50 + kill * 37 % 100));
            if kill % 4 == 0 {
                let _ = ureq::post(format!("{url}/v1/admin/checkpoint")).send_empty();
            }
            drop(node);
            stop.store(true, Ordering::Relaxed);
        });
    }
    let node = Node::start(&data);
    let (there, acknowledged) = (votes(&node, None), acknowledged.into_inner().unwrap());
    assert!(acknowledged.is_subset(&there));
    println!("{KILLS} kills: {} votes acknowledged, {} there", acknowledged.len(), there.len());
    assert!(acknowledged.len() as u64 > KILLS, "there was a load");
}

#[test]
fn told_to_end_it_answers_and_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path());
    let pid = i32::try_from(node.child.id()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(node.child.wait().unwrap().success());
    let again = Node::start(folder.path());
    assert!(again.sample("stemedb_wal_recovered_entries_total").abs() < f64::EPSILON, "everything was durable");
}

#[test]
fn a_second_node_on_the_same_data_says_why_it_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let _node = Node::start(folder.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_stemedb-node"));
    let output = command.args(["--listen", "127.0.0.1:0", "--data"]).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("cannot start with the data in"), "{said}");
}
