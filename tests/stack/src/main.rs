//! The stack for people; `cargo xtask stack` builds and runs it.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use serde_json::Value;
use stemedb_stack::config::Pace;
use stemedb_stack::receiver::{Message, Service};
use stemedb_stack::{Options, Stack};
use tokio::signal::unix::{SignalKind, signal};

/// How often it is looked whether all parts live, and what they tell.
const LOOK: Duration = Duration::from_millis(500);

/// Runs nodes under load, the agent, Prometheus and Alertmanager on loopback until Ctrl-C
///
/// What PagerDuty and Slack would be told is printed. Stop a node, fill its disk, send nonsense: and see what comes.
#[derive(Parser)]
#[command(name = "stemedb-stack", version)]
struct Arguments {
    /// How many nodes the cluster has
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Requests a second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// The share of requests that are wrong
    #[arg(long, default_value_t = 0.002)]
    bad: f64,
    /// Rules and routes ten times as fast as in production
    #[arg(long)]
    fast: bool,
    /// The folder for all files, which stay there [default: a temporary one]
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stemedb-stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    // Caught from here on, so that whatever has been started is stopped.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut end, mut interrupt) = runtime.block_on(async {
        Ok::<_, anyhow::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    })?;
    let temporary;
    let folder = if let Some(dir) = &arguments.dir {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        dir.canonicalize()?
    } else {
        temporary = tempfile::Builder::new().prefix("stemedb-stack-").tempdir()?;
        temporary.path().to_path_buf()
    };
    println!("starting; logs are in {}", folder.display());
    let node = |number: u8| folder.join(Stack::name(number.into()));
    let mut stack = Stack::start(Options {
        data: (0..arguments.nodes).map(node).collect(),
        folder,
        network: None,
        usual_ports: true,
        pace: if arguments.fast { Pace::Fast } else { Pace::Real },
        rate: arguments.rate,
    })?;
    stack.start_load(arguments.bad)?;
    println!("{}", places(&stack, arguments.nodes));
    runtime.block_on(async {
        let (mut looks, mut seen) = (tokio::time::interval(LOOK), 0);
        loop {
            tokio::select! {
                _ = end.recv() => return Ok::<(), anyhow::Error>(()),
                _ = interrupt.recv() => return Ok(()),
                _ = looks.tick() => {}
            }
            let messages = stack.receiver.messages();
            for message in &messages[seen..] {
                println!("{}", told(message));
            }
            seen = messages.len();
            // A node may be killed by whoever looks at this; nothing else may end.
            let ended: Vec<String> =
                stack.nodes.iter_mut().filter_map(|(name, node)| node.check().is_err().then(|| name.clone())).collect();
            for name in ended {
                println!("{name} has ended");
                stack.nodes.remove(&name);
            }
            stack.check()?;
        }
    })?;
    println!("\nstopping");
    Ok(())
}

fn places(stack: &Stack, nodes: u8) -> String {
    let mut lines = vec![
        format!("Prometheus    http://{}", stack.prometheus_address),
        format!("Alertmanager  http://{}", stack.alertmanager_address()),
        format!("agent         http://{}/metrics", stack.agent_address()),
    ];
    for number in 0..usize::from(nodes) {
        let name = Stack::name(number);
        let pid = stack.nodes.get(&name).map_or(0, stemedb_stack::process::Process::pid);
        lines.push(format!("{name:<13} http://{}/metrics  (pid {pid})", stack.node(number)));
    }
    lines.push("Ctrl-C stops all of it. What PagerDuty and Slack are told follows.".into());
    lines.join("\n")
}

/// A message in one line.
fn told(message: &Message) -> String {
    let body = &message.body;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    match message.service {
        Service::PagerDuty => {
            let key: String = text(&body["dedup_key"]).chars().take(8).collect();
            let summary = body["payload"]["summary"].as_str().unwrap_or("");
            format!("PagerDuty {} {} {key} {summary}", text(&body["routing_key"]), text(&body["event_action"]))
        }
        Service::Slack => {
            let attachment = &body["attachments"][0];
            format!("Slack {} {} {}", text(&body["channel"]), text(&attachment["color"]), text(&attachment["title"]))
        }
    }
}
