//! Three nodes: one is killed and comes back, one is cut off and heals, and the metrics of each tell the truth at each step.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "a test that cannot go on panics; figures are whole numbers")]

mod support;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use stemedb_kernel_tests::netns::{self, Network};
use support::{Node, Samples};

/// Within this long the protocol finds out everything: an order of magnitude more than it needs.
const LIMIT: Duration = Duration::from_mins(1);
const NAMES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// Nodes, of which some may be down, and where each is.
struct Cluster<'a> {
    data: &'a Path,
    addresses: [SocketAddr; 3],
    network: Option<&'a Network>,
    nodes: BTreeMap<&'static str, Node>,
}

impl<'a> Cluster<'a> {
    fn start(data: &'a Path, addresses: [SocketAddr; 3], network: Option<&'a Network>) -> Self {
        let mut cluster = Self { data, addresses, network, nodes: BTreeMap::new() };
        for name in NAMES {
            cluster.up(name);
        }
        cluster
    }

    fn up(&mut self, name: &'static str) {
        let place = NAMES.iter().position(|one| *one == name).unwrap();
        let mut arguments = vec!["--name".to_owned(), name.into(), "--compare-every".into(), "1".into()];
        arguments.extend(["--secret".into(), support::secret(self.data)]);
        for (peer, address) in NAMES.iter().zip(self.addresses).filter(|(peer, _)| **peer != name) {
            arguments.extend(["--peer".into(), format!("{peer}={address}")]);
        }
        let inside = self.network.map(|network| network.host(u8::try_from(place).unwrap()).unwrap());
        self.nodes.insert(name, Node::start_as(&self.data.join(name), self.addresses[place], &arguments, inside));
    }

    fn kill(&mut self, name: &str) {
        drop(self.nodes.remove(name).unwrap());
    }

    fn of(&self, name: &str) -> Samples {
        self.nodes[name].samples()
    }

    /// Waits until the figures of a node are as they should be.
    fn await_that(&self, name: &str, what: &str, is: impl Fn(&Samples) -> bool) {
        let begin = Instant::now();
        loop {
            let samples = self.of(name);
            if is(&samples) {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "{name}: not {what} after {LIMIT:?}: {samples}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until all that are up see these numbers of nodes that are alive, suspect or dead.
    fn await_states(&self, names: &[&str], alive: f64, dead: f64) {
        for name in names {
            self.await_that(name, &format!("{alive} alive, {dead} dead"), |samples| {
                samples.states() == [alive, 0.0, dead]
            });
        }
    }

    /// Waits until all have been compared and found equal, and all writes are acknowledged.
    fn await_converged(&self) {
        for name in self.nodes.keys() {
            self.await_that(name, "converged", |samples| {
                NAMES.iter().filter(|peer| *peer != name).all(|peer| {
                    samples.is("stemedb_cluster_converged", peer, 1.0)
                        && samples.is("stemedb_replication_pending_entries", peer, 0.0)
                        && samples.is("stemedb_replication_lag_seconds", peer, 0.0)
                })
            });
        }
    }

    fn vote(&self, name: &str) -> String {
        let vote = json!({ "agent": "a", "claim": "c", "choice": 1 });
        let (status, said) = self.nodes[name].send("POST", "/v1/vote", &vote);
        assert_eq!(status, 201, "{said}");
        said["id"].as_str().unwrap().to_owned()
    }

    fn has(&self, name: &str, vote: &str) -> bool {
        self.nodes[name].send("GET", &format!("/v1/vote/{vote}"), &json!(null)).0 == 200
    }

    fn claim(&self, name: &str, text: &str) {
        let claim = json!({ "text": text, "choices": 3 });
        assert_eq!(self.nodes[name].send("PUT", "/v1/claim/c", &claim).0, 200);
    }

    fn text(&self, name: &str) -> String {
        self.nodes[name].send("GET", "/v1/claim/c", &json!(null)).1["text"].as_str().unwrap().to_owned()
    }
}

#[test]
fn one_that_is_killed_is_suspect_then_dead_and_has_everything_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path(), support::free_addresses(), None);
    cluster.await_states(&NAMES, 3.0, 0.0);
    cluster.claim("node-2", "?");
    cluster.await_converged();
    assert_eq!(cluster.text("node-1"), "?", "what was written at one is at the others");
    let joins = cluster.of("node-1").value("stemedb_cluster_node_joins_total", &[]);

    cluster.kill("node-3");
    let mut votes = vec![cluster.vote("node-1"), cluster.vote("node-1"), cluster.vote("node-2")];
    cluster.await_that("node-1", "one suspect", |samples| samples.states()[1] > 0.0);
    cluster.await_states(&["node-1", "node-2"], 2.0, 1.0);
    for (name, pending) in [("node-1", 2.0), ("node-2", 1.0)] {
        cluster.await_that(name, "failed to compare", |samples| samples.is("stemedb_cluster_converged", "node-3", 0.0));
        let samples = cluster.of(name);
        assert_eq!(samples.quorum(), 1.0, "two of three are more than half");
        assert!(samples.is("stemedb_replication_pending_entries", "node-3", pending), "{samples}");
        assert!(samples.value("stemedb_replication_lag_seconds", &["node-3"]) > 1.0, "{samples}");
        let other = if name == "node-1" { "node-2" } else { "node-1" };
        assert!(samples.is("stemedb_replication_pending_entries", other, 0.0), "{samples}");
    }
    let early = cluster.of("node-1").value("stemedb_replication_lag_seconds", &["node-3"]);
    cluster.await_that("node-1", "further behind", |samples| {
        samples.value("stemedb_replication_lag_seconds", &["node-3"]) > early + 1.0
    });

    // What was not acknowledged is known after a restart too.
    cluster.kill("node-1");
    cluster.up("node-1");
    cluster.await_that("node-1", "behind still", |samples| {
        samples.is("stemedb_replication_pending_entries", "node-3", 2.0)
            && samples.value("stemedb_replication_lag_seconds", &["node-3"]) > early
    });
    votes.push(cluster.vote("node-1"));
    cluster.up("node-3");
    cluster.await_states(&NAMES, 3.0, 0.0);
    cluster.await_converged();
    assert!(votes.iter().all(|vote| cluster.has("node-3", vote)));
    assert!(cluster.of("node-2").value("stemedb_cluster_node_joins_total", &[]) >= joins + 1.0);
}

#[test]
fn a_node_whose_disk_was_lost_gets_everything_by_comparing() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path(), support::free_addresses(), None);
    cluster.claim("node-1", "?");
    let mut votes: Vec<String> = (0..50).map(|_| cluster.vote("node-1")).collect();
    // Its own come back to it as well.
    votes.extend((0..10).map(|_| cluster.vote("node-3")));
    cluster.await_converged();
    cluster.kill("node-3");
    std::fs::remove_dir_all(folder.path().join("node-3")).unwrap();
    cluster.up("node-3");
    cluster.await_that("node-3", "repaired", |samples| {
        samples.value("stemedb_sync_operations_total", &["repaired"]) > 0.0
            || !cluster.of("node-1").is("stemedb_sync_operations_total", "repaired", 0.0)
    });
    cluster.await_converged();
    assert!(votes.iter().all(|vote| cluster.has("node-3", vote)));
    // A claim and 60 votes with two index entries each, found by whoever looked first, and perhaps by two at once.
    let found: f64 = NAMES.iter().map(|name| cluster.of(name).value("stemedb_merkle_diff_size_sum", &[])).sum();
    assert!(found >= 181.0, "{found} records");
}

/// A port of which the two after it are free as well, or were a moment ago.
fn three_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let starts = (0..100).map(|_| support::free_addresses::<1>()[0].port());
    starts.into_iter().find(|port| *port < u16::MAX - 2 && (1..3).all(|more| is_free(port + more))).unwrap()
}

#[test]
fn one_command_starts_a_cluster_and_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], three_ports()));
    let nodes = ["--nodes".to_owned(), "3".into(), "--compare-every".into(), "1".into()];
    let mut parent = Node::start_as(folder.path(), listen, &nodes, None);
    // Whichever was ready first has said where it is; the first of them is where it was told to be.
    parent.url = format!("http://{listen}");
    let begin = Instant::now();
    while parent.get("/metrics").is_none() || parent.samples().states() != [3.0, 0.0, 0.0] {
        assert!(begin.elapsed() < LIMIT, "the three have not found each other");
        thread::sleep(Duration::from_millis(100));
    }
    for name in NAMES {
        assert!(folder.path().join(name).join("wal").is_dir(), "{name} has a folder of its own");
    }
    let pid = Pid::from_raw(i32::try_from(parent.child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(parent.child.wait().unwrap().success(), "all of them end well");
    let ports = (0..3).map(|more| listen.port() + more);
    assert!(ports.into_iter().all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()), "none is left");
}

#[test]
#[ignore = "makes network namespaces, hence as root: `cargo xtask test` runs it"]
fn one_that_is_cut_off_has_no_quorum_and_both_sides_agree_when_it_is_healed() {
    let network = Network::new(3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), [0, 1, 2].map(netns::address), Some(&network));
    cluster.await_states(&NAMES, 3.0, 0.0);
    cluster.claim("node-1", "before");
    let mut votes = vec![cluster.vote("node-1")];
    cluster.await_converged();
    for name in NAMES {
        assert_eq!(cluster.of(name).quorum(), 1.0);
    }

    network.cut(2).unwrap();
    cluster.await_that("node-1", "one suspect", |samples| samples.states()[1] > 0.0);
    cluster.await_states(&["node-1", "node-2"], 2.0, 1.0);
    cluster.await_states(&["node-3"], 1.0, 2.0);
    assert_eq!((cluster.of("node-1").quorum(), cluster.of("node-2").quorum()), (1.0, 1.0));
    assert_eq!(cluster.of("node-3").quorum(), 0.0, "the split brain is told by the side that is too small");
    // Both sides take writes, and the later one wins.
    votes.extend([cluster.vote("node-1"), cluster.vote("node-2"), cluster.vote("node-3"), cluster.vote("node-3")]);
    cluster.claim("node-1", "large side");
    thread::sleep(Duration::from_millis(5));
    cluster.claim("node-3", "small side, later");
    assert_eq!((cluster.text("node-2"), cluster.text("node-3")), ("large side".into(), "small side, later".into()));
    for (name, peer, pending) in [("node-1", "node-3", 2.0), ("node-3", "node-1", 3.0), ("node-3", "node-2", 3.0)] {
        cluster.await_that(name, "behind, and known not to be equal", |samples| {
            samples.is("stemedb_replication_pending_entries", peer, pending)
                && samples.value("stemedb_replication_lag_seconds", &[peer]) > 1.0
                && samples.is("stemedb_cluster_converged", peer, 0.0)
        });
    }
    assert!(cluster.of("node-1").is("stemedb_replication_pending_entries", "node-2", 0.0), "its own side has all");

    network.heal(2).unwrap();
    cluster.await_states(&NAMES, 3.0, 0.0);
    cluster.await_converged();
    for name in NAMES {
        assert_eq!(cluster.of(name).quorum(), 1.0);
        assert_eq!(cluster.text(name), "small side, later");
        assert!(votes.iter().all(|vote| cluster.has(name, vote)), "{name}");
    }
}
