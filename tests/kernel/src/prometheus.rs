//! A real Prometheus that scrapes an agent, and its checker of expositions.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{wait_for, web};

/// How long it may take to start.
const START: Duration = Duration::from_mins(1);
const INSTALL: &str = "`cargo xtask setup --tests` installs it";

/// A server with one target that it scrapes every second; stopped when dropped.
pub struct Prometheus {
    child: Child,
    address: String,
    /// Its configuration and its data.
    _dir: TempDir,
}

impl Prometheus {
    /// Starts it on a free port and waits until it answers.
    pub fn start(target: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{{job_name: agent, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        std::fs::write(dir.path().join("prometheus.yml"), config)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let server = Self { child: spawn(dir.path(), &address)?, address, _dir: dir };
        let ready = || web::request(&server.address, "GET", "/-/ready", "").ok().filter(|answer| answer.status == 200);
        wait_for("Prometheus' start", START, ready)?;
        Ok(server)
    }

    /// The value of an expression that gives one series; `None` when it gives none.
    pub fn query(&self, expression: &str) -> Result<Option<f64>> {
        let path = format!("/api/v1/query?query={}", web::encode(expression));
        let answer = web::request(&self.address, "GET", &path, "")?;
        let document: Value = serde_json::from_str(&answer.body).with_context(|| format!("not JSON: {answer:?}"))?;
        if document["status"] != "success" {
            bail!("{expression}: {document}");
        }
        let series = document["data"]["result"].as_array().map_or(&[][..], Vec::as_slice);
        match series {
            [] => Ok(None),
            [one] => Ok(Some(one["value"][1].as_str().context("no value")?.parse()?)),
            _ => bail!("{expression} gives {} series", series.len()),
        }
    }

    /// Waits until an expression has a value that is right.
    pub fn wait_for_value(&self, expression: &str, limit: Duration, right: impl Fn(f64) -> bool) -> Result<f64> {
        let mut last = None;
        let value = wait_for("the value", limit, || {
            std::thread::sleep(Duration::from_millis(100));
            last = Some(self.query(expression));
            last.as_ref()?.as_ref().ok()?.filter(|value| right(*value))
        });
        value.with_context(|| format!("{expression} was at last {last:?}"))
    }
}

fn spawn(dir: &Path, address: &str) -> Result<Child> {
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .args(["--log.level=error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    child.with_context(|| format!("cannot run prometheus; {INSTALL}"))
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `promtool check metrics` has to say about an exposition, line by line; an error when it cannot read it.
pub fn promtool_complaints(text: &str) -> Result<Vec<String>> {
    /// Its status when it can read the text, but does not like it.
    const LINT: i32 = 3;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run promtool; {INSTALL}"))?;
    // It reads all before it prints.
    child.stdin.take().context("no stdin")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    match (output.status.code(), lines.is_empty()) {
        (Some(0), true) | (Some(LINT), false) => Ok(lines),
        (code, _) => bail!("promtool ended with {code:?}: {said}"),
    }
}
