use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::databases::count_of;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::{binary, web};

/// The reference node under a name of its own, killed when this is dropped.
struct Node {
    child: Child,
    address: String,
}

impl Node {
    fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the node")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        Ok(Self { child, address: address.with_context(|| format!("the node says {line:?}"))? })
    }

    fn ask(&self, method: &str, path: &str) -> Result<Value> {
        let answer = web::request(&self.address, method, path, "*/*")?;
        ensure!(answer.status == 200, "{method} {path}: {answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the log counts of its own calls, and what the kernel has seen of them.
fn log_and_kernel(wal: &Value, agent: &Agent, target: &str) -> Result<[(&'static str, u64, u64); 4]> {
    let status = agent.status()?;
    let own = |name: &str| wal[name].as_u64().with_context(|| format!("no {name} in {wal}"));
    let kernel = |op| count_of(&status, target, "wal", op);
    Ok([
        ("writes", own("commits")?, kernel("write").calls),
        ("bytes", own("bytes")?, kernel("write").bytes),
        ("data syncs", own("commits")?, kernel("fdatasync").calls),
        ("syncs", own("fsyncs")?, kernel("fsync").calls),
    ])
}

/// Starts, takes a load, rotates and forgets segments, is killed, recovers, takes a load again.
#[test]
fn the_nodes_log_and_the_kernel_count_the_same() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let name = format!("node-{}", std::process::id());
    let program = mount.path().join(&name);
    std::fs::copy(binary("stemedb-node")?, &program)?;
    // The profile's directory, `wal/`, is all that the agent knows of the node's files.
    let agent = Agent::start(&["--profile", "t:stemedb", "--target", &format!("t:comm={name}")])?;
    let data = mount.path().join("data");
    let data = data.to_str().context("no UTF-8")?;
    let (mut begun, mut entries) = ([0; 4], 0);
    for life in 1..=2 {
        let node = Node::start(&program, &["--data", data, "--segment-bytes", "16384"])?;
        let mut load = Command::new(binary("stemedb-load")?);
        load.args(["--node", &format!("http://{}", node.address), "--seconds", "3", "--rate", "200", "--json"]);
        let output = load.output().context("cannot run the load")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "the load: {said} {}", String::from_utf8_lossy(&output.stderr));
        let removed = node.ask("POST", "/v1/admin/checkpoint")?["segments_removed"].as_u64();
        ensure!(removed > Some(1), "segments removed: {removed:?}");
        let wal = node.ask("GET", "/v1/admin/wal")?;
        let counts = log_and_kernel(&wal, &agent, "t")?;
        for ((what, own, kernel), begun) in counts.iter().zip(&mut begun) {
            *begun += own;
            ensure!(
                *begun == *kernel && *own > 0,
                "{what} in life {life}: the log {begun}, the kernel {kernel}; {wal}"
            );
        }
        entries += wal["entries"].as_u64().unwrap_or(0);
    }
    let status = agent.status()?;
    ensure!(entries > 300 && status.losses().is_empty(), "{entries} entries, lost {:?}", status.losses());
    ensure!(
        count_of(&status, "t", "store", "fsync").calls + count_of(&status, "t", "store", "fdatasync").calls > 0,
        "the engines sync as well"
    );
    Ok(())
}
