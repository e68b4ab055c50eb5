//! `cargo xtask demo`: the reference node under load, watched live by the agent; at the end what each has counted, side by side.

mod api;
mod client;
mod compare;
mod live;
mod status;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::process::{self, Agent, Program};
use crate::{build, shell};
use api::Api;
use client::{Client, free_port};
use compare::{Counts, Load, Wal};
use live::{Live, Second};
use status::{CLASSES, Status};

/// How long, how much, and where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long the load lasts
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Requests a second, on average
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Directory of the node's data, which stays there [default: a temporary one in target/]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What the processes print beside what the demo reads.
const LOG: &str = "target/demo.log";
/// The share of the requests that are wrong.
const BAD: &str = "0.02";
/// How long a process may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long the load may take beyond its time.
const END_LIMIT: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

/// How the demo ended.
enum End {
    Compared { equal: bool },
    Interrupted,
}

/// Builds all, then runs the demo.
pub(crate) fn demo(options: &Options) -> Result<ExitCode> {
    build::agent()?;
    build::node()?;
    // Until here, Ctrl-C ends this program and the build; from here on, there is something to stop and to remove.
    process::catch_signals();
    let target = shell::root().join("target");
    let temporary;
    let dir = if let Some(dir) = &options.dir {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        dir.canonicalize()?
    } else {
        temporary = tempfile::Builder::new().prefix("demo-").tempdir_in(&target)?;
        temporary.path().to_path_buf()
    };
    let log = File::create(shell::root().join(LOG)).with_context(|| format!("cannot write {LOG}"))?;
    match watch(options, &dir, &log) {
        Ok(End::Compared { equal: true }) => Ok(ExitCode::SUCCESS),
        Ok(End::Compared { equal: false }) => Ok(ExitCode::FAILURE),
        Ok(End::Interrupted) => {
            println!("\nstopped before the end: nothing to compare");
            Ok(ExitCode::from(130))
        }
        Err(error) => Err(anyhow!("{error:#}{}", last_words())),
    }
}

/// The last lines of what the processes printed.
fn last_words() -> String {
    let text = fs::read_to_string(shell::root().join(LOG)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let last = &lines[lines.len().saturating_sub(10)..];
    format!("\n{LOG} ends with:\n  {}", last.join("\n  "))
}

/// The node and the agent, which run, and how to ask them.
struct Stage {
    node: Client,
    agent: Client,
    node_process: Program,
    agent_process: Agent,
}

fn watch(options: &Options, dir: &Path, log: &File) -> Result<End> {
    let Some(mut stage) = Stage::set(dir, log)? else { return Ok(End::Interrupted) };
    let mut live = Live::new(&stage.node.url("/metrics"), &stage.agent.url("/metrics"), options.seconds);
    let wal_before = stage.wal()?;
    let load = Program::start("load", load(options, &stage.node), log)?;
    let Some(report) = stage.draw(&load, &mut live, Duration::from_secs(options.seconds) + END_LIMIT)? else {
        return Ok(End::Interrupted);
    };
    // The node still lives: what the agent knows of it is whole.
    let counts = Counts {
        wal: stage.wal()?,
        api: stage.api()?,
        kernel: stage.agent.status()?,
        wal_before,
        load: Load::parse(&report)?,
    };
    let (text, equal) = compare::summary(&counts);
    println!("\n{text}");
    stage.node_process.finish()?;
    stage.agent_process.finish()?;
    Ok(End::Compared { equal })
}

impl Stage {
    /// Starts the node, then the agent; nothing where the user stopped it.
    fn set(dir: &Path, log: &File) -> Result<Option<Self>> {
        let mut command = shell::command(shell::root().join(build::NODE));
        let node = Client::new(free_port()?);
        command.args(["--listen", &node.address, "--data"]).arg(dir);
        let node_process = Program::start("node", command, log)?;
        if node_process.await_line(START_LIMIT)?.is_none() {
            return Ok(None);
        }
        let agent = Client::new(free_port()?);
        let arguments = arguments(&agent, node_process.pid(), dir)?;
        let mut agent_process = Agent::start(shell::root().join(build::AGENT).as_os_str(), &arguments, log)?;
        let is_ready = agent.await_ready(&mut agent_process)?;
        Ok(is_ready.then_some(Self { node, agent, node_process, agent_process }))
    }

    fn wal(&self) -> Result<Wal> {
        Wal::parse(&self.node.get("/v1/admin/wal")?)
    }

    fn api(&self) -> Result<Api> {
        Api::parse(&self.node.get("/metrics")?)
    }

    /// Shows each second until the load tells its counts; nothing where the user stopped it.
    fn draw(&mut self, load: &Program, live: &mut Live, limit: Duration) -> Result<Option<String>> {
        let start = Instant::now();
        let (mut last, mut next) = (start, start + SECOND);
        let mut before: (Api, Status) = (self.api()?, self.agent.status()?);
        loop {
            if let Some(line) = load.line(Duration::from_millis(50))? {
                return Ok(Some(line));
            }
            if process::stopped() {
                return Ok(None);
            }
            self.agent_process.check()?;
            ensure!(start.elapsed() < limit, "the load does not end");
            let now = Instant::now();
            if now >= next {
                let (api, status) = (self.api()?, self.agent.status()?);
                let seconds = (now - last).as_secs_f64();
                let second = Second {
                    api: api.since(&before.0, seconds),
                    kernel: status.since(&before.1, seconds),
                    shares: status.shares(&before.1, "wal"),
                };
                live.show(&second, (now - start).as_secs())?;
                (before, last) = ((api, status), now);
                // A second that was missed is not made up for.
                while next <= now {
                    next += SECOND;
                }
            }
        }
    }
}

/// The load on a node.
fn load(options: &Options, node: &Client) -> Command {
    let mut command = shell::command(shell::root().join(build::LOAD));
    command.args(["--json", "--node", &node.url(""), "--bad", BAD]);
    command.args(["--seconds", &options.seconds.to_string(), "--rate", &options.rate.to_string()]);
    command
}

/// The arguments of an agent that watches one process and two of its directories.
fn arguments(client: &Client, pid: u32, dir: &Path) -> Result<Vec<String>> {
    let mut arguments = vec!["run".into(), "--listen".into(), client.address.clone()];
    arguments.extend(["--target".into(), format!("demo:pid={pid}")]);
    for class in CLASSES {
        let mut value = OsString::from(format!("demo:{class}="));
        value.push(dir.join(class));
        let value = value.into_string().ok().with_context(|| format!("{} is not UTF-8", dir.display()))?;
        arguments.extend(["--class".into(), value]);
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_watches_the_node_and_both_directories() {
        let arguments = arguments(&Client::new(1234), 42, Path::new("/data dir")).unwrap();
        let expected = "run|--listen|127.0.0.1:1234|--target|demo:pid=42|--class|demo:wal=/data dir/wal|--class|demo:store=/data \
             dir/store";
        assert_eq!(arguments.join("|"), expected);
    }
}
