//! The whole stack on loopback: nodes under load, the agent, Prometheus, Alertmanager, and a receiver in the place of PagerDuty and Slack.
#![forbid(unsafe_code)]

pub mod boards;
pub mod config;
pub mod process;
pub mod receiver;

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stemedb_kernel_tests::binary;
use stemedb_kernel_tests::netns::{self, Network};
use stemedb_kit::scrape::Places;

use config::Pace;
use process::Process;
use receiver::Receiver;

/// How long the parts have to be ready.
const START: Duration = Duration::from_mins(1);

/// How it is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the files of all but the nodes are, and what each part says.
    pub folder: PathBuf,
    /// Where each node has its data: as many as there are nodes.
    pub data: Vec<PathBuf>,
    /// Hosts of the nodes; without it, all are on loopback. All but the nodes is started where the caller is: in the hub.
    pub network: Option<Arc<Network>>,
    /// Whether each part has its usual port; else a free one.
    pub usual_ports: bool,
    /// How fast time goes for rules and routes.
    pub pace: Pace,
    /// Requests a second.
    pub rate: u32,
}

/// The stack, which ends with its guard.
pub struct Stack {
    options: Options,
    /// Nodes by their names; a test may take one out.
    pub nodes: BTreeMap<String, Process>,
    /// The agent.
    pub agent: Option<Process>,
    /// The load.
    pub load: Option<Process>,
    /// What is told to whom.
    pub receiver: Receiver,
    prometheus: Process,
    alertmanager: Process,
    places: Places,
    /// Prometheus' address.
    pub prometheus_address: String,
    http: ureq::Agent,
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").context("no free port")?.local_addr()?)
}

impl Stack {
    /// Starts everything, and waits until it is ready.
    pub fn start(options: Options) -> Result<Self> {
        let address = |usual: u16| -> Result<String> {
            if options.usual_ports { Ok(format!("127.0.0.1:{usual}")) } else { Ok(free_address()?.to_string()) }
        };
        let node = |number: usize| match options.network {
            Some(_) => Ok(netns::address(u8::try_from(number)?).to_string()),
            None => address(18180 + u16::try_from(number)?),
        };
        let nodes: Vec<String> = (0..options.data.len()).map(node).collect::<Result<_>>()?;
        let alertmanager_address = address(9093)?;
        let places = Places {
            nodes,
            agents: vec![address(18190)?],
            alertmanagers: vec![alertmanager_address.clone()],
            host: options.network.as_ref().map(|_| "localhost"),
            interval: options.pace.interval(),
        };
        fs::create_dir_all(&options.folder)?;
        fs::write(options.folder.join("secret"), format!("{:032x}\n", rand::random::<u128>()))?;
        let receiver = Receiver::start()?;
        let prometheus_address = address(9090)?;
        let prometheus = start_prometheus(&options, &places, &prometheus_address)?;
        let alertmanager = start_alertmanager(&options, &receiver, &alertmanager_address)?;
        let http = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).proxy(None).build();
        let mut stack = Self {
            options,
            nodes: BTreeMap::new(),
            agent: None,
            load: None,
            receiver,
            prometheus,
            alertmanager,
            places,
            prometheus_address,
            http: http.into(),
        };
        for number in 0..stack.places.nodes.len() {
            stack.start_node(number)?;
        }
        stack.start_agent()?;
        stack.await_answer("Prometheus", &format!("http://{}/-/ready", stack.prometheus_address))?;
        stack.await_answer("Alertmanager", &format!("http://{alertmanager_address}/-/ready"))?;
        Ok(stack)
    }

    /// The name of a node.
    #[must_use]
    pub fn name(number: usize) -> String {
        format!("node-{}", number + 1)
    }

    /// The address of a node.
    #[must_use]
    pub fn node(&self, number: usize) -> &str {
        &self.places.nodes[number]
    }

    /// The agent's address.
    #[must_use]
    pub fn agent_address(&self) -> &str {
        &self.places.agents[0]
    }

    /// Alertmanager's address.
    #[must_use]
    pub fn alertmanager_address(&self) -> &str {
        &self.places.alertmanagers[0]
    }

    /// Gives a node another folder for its data, from its next start on.
    pub fn move_node(&mut self, number: usize, data: PathBuf) {
        self.options.data[number] = data;
    }

    /// Starts a node, and waits until it is ready.
    pub fn start_node(&mut self, number: usize) -> Result<()> {
        let (name, address) = (Self::name(number), self.places.nodes[number].clone());
        let mut command = Command::new(binary("stemedb-node")?);
        command.args(["--name", &name, "--listen", &address, "--compare-every", "2"]);
        command.arg("--secret").arg(self.options.folder.join("secret"));
        command.arg("--data").arg(&self.options.data[number]);
        for (other, address) in self.places.nodes.iter().enumerate().filter(|(other, _)| *other != number) {
            command.args(["--peer", &format!("{}={address}", Self::name(other))]);
        }
        let start = || Process::start(&name, command, &self.options.folder);
        let process = match &self.options.network {
            Some(network) => network.host(u8::try_from(number)?)?.run(start)??,
            None => start()?,
        };
        self.nodes.insert(name.clone(), process);
        self.await_answer(&name, &format!("http://{address}/readyz"))
    }

    /// Starts the agent, and waits until it counts.
    pub fn start_agent(&mut self) -> Result<()> {
        let mut command = Command::new(binary("stemedb-probe")?);
        command.args(["run", "--listen", &self.places.agents[0], "--profile", "stemedb"]);
        command.args(["--target", "stemedb:comm=stemedb-node"]);
        self.agent = Some(Process::start("agent", command, &self.options.folder)?);
        self.await_answer("the agent", &format!("http://{}/readyz", self.places.agents[0]))
    }

    /// Has the load sent by a process of its own, with a share of requests that are wrong, until it is stopped.
    pub fn start_load(&mut self, bad: f64) -> Result<()> {
        let mut command = Command::new(binary("stemedb-load")?);
        for node in &self.places.nodes {
            command.args(["--node", &format!("http://{node}")]);
        }
        command.args(["--rate", &self.options.rate.to_string(), "--bad", &bad.to_string(), "--seconds", "1000000"]);
        self.load = None;
        self.load = Some(Process::start("load", command, &self.options.folder)?);
        Ok(())
    }

    /// An error where a part has ended that should not have.
    pub fn check(&mut self) -> Result<()> {
        self.prometheus.check()?;
        self.alertmanager.check()?;
        self.nodes.values_mut().chain(&mut self.agent).chain(&mut self.load).try_for_each(Process::check)
    }

    /// What a URL answers.
    pub fn get(&self, url: &str) -> Result<String> {
        let mut answer = self.http.get(url).call().with_context(|| format!("no answer to {url}"))?;
        answer.body_mut().read_to_string().with_context(|| format!("cannot read the answer to {url}"))
    }

    /// Asks for something to be done.
    pub fn post(&self, url: &str) -> Result<String> {
        let mut answer = self.http.post(url).send_empty().with_context(|| format!("no answer to {url}"))?;
        answer.body_mut().read_to_string().with_context(|| format!("cannot read the answer to {url}"))
    }

    /// The series that an expression gives now.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let url = format!("http://{}/api/v1/query", self.prometheus_address);
        let mut answer = self.http.get(url).query("query", expression).call()?;
        let document: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        ensure!(document["status"] == "success", "{expression}: {document}");
        Ok(document["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// Alerts that fire now, by name.
    pub fn firing(&self) -> Result<Vec<String>> {
        let series = self.query("ALERTS{alertstate=\"firing\"}")?;
        Ok(series.iter().filter_map(|one| one["metric"]["alertname"].as_str().map(str::to_owned)).collect())
    }

    fn await_answer(&mut self, what: &str, url: &str) -> Result<()> {
        let begin = Instant::now();
        loop {
            let Err(error) = self.get(url) else { return Ok(()) };
            self.check()?;
            ensure!(begin.elapsed() < START, "{what} is not ready after {} s: {error:#}", START.as_secs());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn start_prometheus(options: &Options, places: &Places, address: &str) -> Result<Process> {
    let folder = options.folder.join("prometheus");
    let config = config::prometheus(&folder, places, options.pace)?;
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address={address}"));
    Process::start("prometheus", command, &options.folder)
}

fn start_alertmanager(options: &Options, receiver: &Receiver, address: &str) -> Result<Process> {
    let folder = options.folder.join("alertmanager");
    let config = config::alertmanager(&folder, receiver, options.pace)?;
    // Debian's name for it.
    let mut command = Command::new("prometheus-alertmanager");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.path={}", folder.join("data").display()));
    command.args([&format!("--web.listen-address={address}"), "--cluster.listen-address="]);
    Process::start("alertmanager", command, &options.folder)
}
