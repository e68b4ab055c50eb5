//! One member of etcd, on loopback.

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::Server;
use crate::{strace, web};

/// A member on free ports, its data in a temporary folder.
pub struct Etcd {
    /// The server; dropped before its folder.
    pub server: Server,
    address: String,
    dir: TempDir,
}

impl Etcd {
    /// Starts it. It takes a snapshot after every `snapshot` entries.
    pub fn start(snapshot: u32) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // Both are free at once, so that they differ.
        let free = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [address, peer] = [free[0].local_addr()?.to_string(), free[1].local_addr()?.to_string()];
        drop(free);
        let (url, peer) = (format!("http://{address}"), format!("http://{peer}"));
        let mut command = strace::command(dir.path(), "etcd");
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}"), "--snapshot-count", &snapshot.to_string()]);
        command.arg("--data-dir").arg(dir.path().join("data")).current_dir(dir.path());
        let mut server = Server::start(command, dir.path(), libc::SIGTERM)?;
        server.ready("etcd's start", || {
            let health = web::request(&address, "GET", "/health", "*/*").ok()?;
            health.body.contains("\"true\"").then_some(())
        })?;
        Ok(Self { server, address, dir })
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Stores a value under a key, both in base64; it is durable on return.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        let body = format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}");
        let head = format!("POST /v3/kv/put HTTP/1.0\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = web::exchange(&self.address, (head + &body).as_bytes())?;
        ensure!(answer.contains("\"revision\""), "put: {answer}");
        Ok(())
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> Result<u64> {
        let text = web::request(&self.address, "GET", "/metrics", "*/*")?.body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {name}"))?.parse()?)
    }
}
