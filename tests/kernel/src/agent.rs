//! A running agent.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use stemedb_ebpf::slots::{SLOTS, size_slot};

use crate::block::Disks;
use crate::{binary, wait_for};

/// The way to hook that every agent is asked for; without it the agent chooses.
const HOOKS: &str = "STEMEDB_TEST_HOOKS";
/// A generous limit for what takes a second.
const SOON: Duration = Duration::from_secs(30);

/// What to tell it of hooks.
pub fn hooks() -> Vec<String> {
    std::env::var(HOOKS).map_or_else(|_| Vec::new(), |mode| vec!["--hooks".to_owned(), mode])
}

/// All that a program has said on its standard error so far.
pub(crate) fn log_of(stderr: ChildStderr) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let copy = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Ok(mut log) = copy.lock() {
                log.push_str(&line);
                log.push('\n');
            }
        }
    });
    log
}

/// An agent that is stopped when this is dropped.
pub struct Agent {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Agent {
    /// Starts `stemedb-probe run` on a free port and waits until it counts.
    pub fn start<S: AsRef<OsStr>>(args: &[S]) -> Result<Self> {
        let mut child = Command::new(binary("stemedb-probe")?)
            .args(["run", "--listen", "127.0.0.1:0"])
            .args(hooks())
            .args(args)
            .env("RUST_LOG", "info,aya=warn,aya_obj=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = log_of(child.stderr.take().context("no stderr")?);
        let mut agent = Self { child, address: String::new(), log };
        agent.address = wait_for("the agent's start", SOON, || {
            let log = agent.log();
            if matches!(agent.child.try_wait(), Ok(Some(_))) {
                return Some(String::new());
            }
            let line = log.lines().find(|line| line.contains("ready: http://"))?;
            Some(line.split("http://").nth(1)?.split('/').next()?.to_owned())
        })
        .with_context(|| format!("the agent said:\n{}", agent.log()))?;
        if agent.address.is_empty() {
            bail!("the agent ended at once; it said:\n{}", agent.log());
        }
        Ok(agent)
    }

    /// The agent for one target, with its rule and its class directories.
    pub fn watch(rule: &str, classes: &[(&str, &std::path::Path)]) -> Result<Self> {
        let mut args = vec!["--target".to_owned(), format!("t:{rule}")];
        for (class, dir) in classes {
            args.extend(["--class".to_owned(), format!("t:{class}={}", dir.display())]);
        }
        Self::start(&args)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its HTTP address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends bytes and returns all that comes back.
    pub fn raw(&self, request: &[u8]) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(request)?;
        let mut answer = Vec::new();
        // The server may reset a connection whose request it has not read to the end.
        let _ = stream.read_to_end(&mut answer);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The body of a GET that must be answered with 200.
    pub fn get(&self, path: &str, accept: &str) -> Result<String> {
        let answer = self.raw(
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP answer: {answer:?}"))?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("GET {path}: {head}");
        }
        Ok(body.to_owned())
    }

    /// `/status`
    pub fn status(&self) -> Result<Status> {
        let text = self.get("/status", "*/*")?;
        serde_json::from_str(&text).with_context(|| format!("not the status that was expected: {text}"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: the child has not been waited for, so its pid is its own.
        if unsafe { libc::kill(pid, signal) } != 0 {
            return Err(std::io::Error::last_os_error()).context("kill");
        }
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        wait_for("the agent's end", SOON, || child.try_wait().ok().flatten())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(libc::SIGTERM);
            if self.wait().is_err() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

/// The part of `/status` that tests look at.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// Sync calls.
    pub series: Vec<Syncs>,
    /// Writes.
    pub writes: Vec<Writes>,
    /// Failed calls.
    pub errors: Vec<Failures>,
    /// Maps of the kernel side, by name.
    pub maps: BTreeMap<String, MapState>,
    /// What is missing, by reason.
    pub lost: BTreeMap<String, u64>,
    /// What stores through mappings made dirty.
    pub mapped: Vec<Mapped>,
    /// Targets.
    pub targets: Vec<Target>,
    /// Class directories.
    pub classes: Vec<Class>,
    /// Block I/O.
    pub disks: Disks,
    /// Capabilities.
    pub capabilities: Vec<serde_json::Value>,
}

/// Calls of one sync operation.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Syncs {
    pub target: String,
    pub class: String,
    pub op: String,
    pub calls: u64,
    pub sum_ns: u64,
    pub max_ns: u64,
    pub phases_ns: BTreeMap<String, u64>,
    pub slots: Vec<(usize, u64)>,
}

/// Writes to one class.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Writes {
    pub target: String,
    pub class: String,
    pub ops: Vec<WriteOp>,
    pub sum_ns: u64,
    pub group_writes: Group,
    pub group_bytes: Group,
    pub flush: Flush,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct WriteOp {
    pub op: String,
    pub calls: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Group {
    pub sum: u64,
    pub slots: Vec<(usize, u64)>,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Flush {
    pub sum_ns: u64,
    pub slots: Vec<(usize, u64)>,
}

impl Group {
    /// Groups of any size, of none, too.
    pub fn count(&self) -> u64 {
        counted(&self.slots, 0)
    }

    /// Groups of one at least.
    pub fn filled(&self) -> u64 {
        counted(&self.slots, size_slot(1))
    }
}

impl Flush {
    /// Groups that were flushed.
    pub fn count(&self) -> u64 {
        counted(&self.slots, 0)
    }
}

fn counted(slots: &[(usize, u64)], from: usize) -> u64 {
    slots.iter().filter(|(slot, _)| *slot >= from).map(|(_, count)| count).sum()
}

/// Calls that failed alike.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Failures {
    pub target: String,
    pub class: String,
    pub op: String,
    pub error: String,
    pub count: u64,
}

/// A map of the kernel side.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct MapState {
    pub entries: u64,
    pub capacity: u64,
}

/// Page cache of one class that stores through shared mappings made dirty.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Mapped {
    pub target: String,
    pub class: String,
    pub bytes: u64,
    pub folios: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Target {
    pub name: String,
    pub process_count: u64,
    pub processes_seen: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "as in /status")]
pub struct Class {
    pub target: String,
    pub class: String,
    pub pattern: String,
    pub origin: String,
    pub found: bool,
    pub rotations: u64,
    pub files: Option<u64>,
    pub mount: Option<serde_json::Value>,
}

impl Status {
    /// Whether a capability is there.
    pub fn is_on(&self, capability: &str) -> bool {
        self.capabilities
            .iter()
            .any(|one| one["capability"] == capability && one.get("hook").is_some_and(serde_json::Value::is_string))
    }

    /// Calls of an operation on a class of target `t`.
    pub fn calls(&self, class: &str, op: &str) -> u64 {
        let syncs = self.series.iter().filter(|s| s.target == "t" && s.class == class && s.op == op).map(|s| s.calls);
        syncs.chain(self.write_op(class, op).map(|o| o.calls)).sum()
    }

    /// Bytes of an operation.
    pub fn bytes(&self, class: &str, op: &str) -> u64 {
        self.write_op(class, op).map(|o| o.bytes).sum()
    }

    fn write_op<'s>(&'s self, class: &'s str, op: &'s str) -> impl Iterator<Item = &'s WriteOp> {
        let writes = self.writes.iter().filter(move |w| w.target == "t" && w.class == class);
        writes.flat_map(|w| &w.ops).filter(move |o| o.op == op)
    }

    /// Failed calls of an operation.
    pub fn failed(&self, class: &str, op: &str, error: &str) -> u64 {
        let failures =
            self.errors.iter().filter(|e| e.target == "t" && e.class == class && e.op == op && e.error == error);
        failures.map(|e| e.count).sum()
    }

    /// Latency slots of all sync operations of a class.
    pub fn sync_slots(&self, class: &str) -> [u64; SLOTS] {
        let mut out = [0; SLOTS];
        for (slot, count) in self.series.iter().filter(|s| s.target == "t" && s.class == class).flat_map(|s| &s.slots) {
            out[*slot] += count;
        }
        out
    }

    /// Bytes and folios of a class that stores through mappings made dirty.
    pub fn mapped(&self, class: &str) -> (u64, u64) {
        let entries = self.mapped.iter().filter(|entry| entry.target == "t" && entry.class == class);
        entries.fold((0, 0), |(bytes, folios), entry| (bytes + entry.bytes, folios + entry.folios))
    }

    /// At rest, as many block requests may be missing, and no more: runs that the kernel left out because the program was interrupted
    /// by itself, and requests whose end the kernel has not told of. The latter are known when their place is needed again; until then
    /// they are among those in flight.
    pub fn left_out(&self) -> u64 {
        let lost = |reason| self.lost.get(reason).copied().unwrap_or(0);
        lost("recursion") + lost("missed_completion") + self.maps.get("requests").map_or(0, |map| map.entries)
    }

    /// Everything that is missing, by reason, without the zeros, but for block requests whose end was not told: a kernel may run no program
    /// while process 1 is on the processor, and then requests of the whole machine that end there are missing ([`Self::left_out`]).
    pub fn losses(&self) -> Vec<(&str, u64)> {
        self.lost
            .iter()
            .filter(|(reason, n)| **n != 0 && *reason != "missed_completion")
            .map(|(reason, n)| (reason.as_str(), *n))
            .collect()
    }
}
