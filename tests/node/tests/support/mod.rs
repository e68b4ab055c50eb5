//! The node as a process, for several tests.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part; a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use stemedb_kernel_tests::netns::Inside;

/// A node that is killed when this is dropped.
pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) url: String,
    inside: Option<Inside>,
}

impl Node {
    /// A node without peers, at a free port.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_as(data, SocketAddr::from(([127, 0, 0, 1], 0)), &[], None)
    }

    /// A node at an address, perhaps in a network namespace.
    pub(crate) fn start_as(data: &Path, listen: SocketAddr, arguments: &[String], inside: Option<Inside>) -> Self {
        let start = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_stemedb-node"));
            command.args(["--listen", &listen.to_string(), "--data"]).arg(data).args(arguments);
            command.env("RUST_LOG", "error").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut child = match &inside {
            Some(inside) => inside.run(start).unwrap(),
            None => start(),
        };
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it says {line:?}")).to_owned();
        Self { child, url, inside }
    }

    fn there<T: Send>(&self, ask: impl FnOnce() -> T + Send) -> T {
        match &self.inside {
            Some(inside) => inside.run(ask).unwrap(),
            None => ask(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        self.there(|| ureq::get(format!("{}{path}", self.url)).call().ok()?.body_mut().read_to_string().ok())
    }

    /// The status, and what it says.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}{path}", self.url);
        let json = "application/json";
        let mut response = self.there(|| {
            match method {
                "POST" => agent.post(url).header("content-type", json).send(body.to_string()),
                "PUT" => agent.put(url).header("content-type", json).send(body.to_string()),
                _ => agent.get(url).call(),
            }
            .unwrap()
        });
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::from(text)))
    }

    pub(crate) fn samples(&self) -> Samples {
        let text = self.get("/metrics").unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pair = |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
        Samples(lines.filter_map(pair).collect())
    }

    pub(crate) fn sample(&self, name: &str) -> f64 {
        *self.samples().0.get(name).unwrap_or_else(|| panic!("no {name}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a node exports, by name and labels.
pub(crate) struct Samples(pub BTreeMap<String, f64>);

impl Samples {
    /// The sum of the samples of a metric that have all of these label values.
    pub(crate) fn value(&self, name: &str, labels: &[&str]) -> f64 {
        let of_it = self.0.iter().filter(|(key, _)| key.split('{').next() == Some(name));
        of_it
            .filter(|(key, _)| labels.iter().all(|label| key.contains(&format!("\"{label}\""))))
            .map(|(_, value)| value)
            .sum()
    }

    /// Whether there is a sample of a peer, and it is that.
    pub(crate) fn is(&self, name: &str, label: &str, value: f64) -> bool {
        let found = self
            .0
            .iter()
            .find(|(key, _)| key.starts_with(&format!("{name}{{")) && key.contains(&format!("\"{label}\"")));
        found.is_some_and(|(_, found)| (found - value).abs() < f64::EPSILON)
    }

    /// How many nodes are alive, suspect, dead.
    pub(crate) fn states(&self) -> [f64; 3] {
        ["alive", "suspect", "dead"].map(|state| self.value("stemedb_cluster_nodes", &[state]))
    }

    pub(crate) fn quorum(&self) -> f64 {
        self.value("stemedb_cluster_quorum", &[])
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_cluster =
            |key: &str| ["_cluster_", "_replication_", "_sync_", "_merkle_"].iter().any(|part| key.contains(part));
        for (key, value) in self.0.iter().filter(|(key, _)| of_cluster(key) && !key.contains("_bucket")) {
            writeln!(out, "{key} {value}")?;
        }
        Ok(())
    }
}

/// A file with a secret for nodes that are peers.
pub(crate) fn secret(folder: &Path) -> String {
    let file = folder.join("secret");
    std::fs::write(&file, "of these nodes\n").unwrap();
    file.to_str().unwrap().to_owned()
}

/// Addresses on loopback that were free a moment ago.
pub(crate) fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}
