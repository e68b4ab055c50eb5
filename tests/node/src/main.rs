//! The command line of the node; see `--help`.
#![forbid(unsafe_code)]

mod certificates;
mod local;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use stemedb_metrics::Metrics;
use stemedb_node::api::{Limits, router};
use stemedb_node::cluster::{Cluster, Config, Node};
use stemedb_node::memory;
use stemedb_node::server::serve;
use stemedb_node::service::{Folders, Service};
use tokio::signal::unix::{SignalKind, signal};

use certificates::Watched;

/// How often what grows old by itself is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two checkpoints.
const CHECKPOINT: u64 = 30;
/// What is logged where RUST_LOG does not say: of the engines only what is wrong.
const LOG: &str = "warn,stemedb_node=info";
/// Ticks between two looks at certificates.
const CERTIFICATES: u64 = 60;
/// Time between two decays of trust.
const DECAY: Duration = Duration::from_mins(1);

/// A small StemeDB-shaped server: a write-ahead log with group commit, two storage engines, an HTTP API, metrics, a cluster
///
/// All data is in one folder. SIGTERM and SIGINT end it in order: requests that have begun are answered, and what was written is made durable.
#[derive(Parser)]
#[command(name = "stemedb-node", version)]
struct Options {
    /// Where the API and /metrics are, and the gossip of a cluster by UDP
    #[arg(long, default_value = "127.0.0.1:18180")]
    listen: SocketAddr,
    /// The folder for all data; made where it is not there
    #[arg(long, default_value = "stemedb-data")]
    data: PathBuf,
    /// This node's name in its cluster
    #[arg(long, default_value = "node-1")]
    name: String,
    /// Another node of the cluster, by its name and where it listens, as in node-2=10.0.0.2:18180; all of them know all of them
    #[arg(long = "peer", value_name = "NAME=ADDRESS:PORT", conflicts_with = "nodes")]
    peers: Vec<Node>,
    /// A file with the secret by which the nodes of the cluster know each other; needed with --peer
    #[arg(long, value_name = "FILE", conflicts_with = "nodes")]
    secret: Option<PathBuf>,
    /// Seconds between two comparisons with a peer
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    compare_every: u64,
    /// Start so many nodes, each a process of its own: from --listen on, at one port after the other, each in a folder of its own in --data
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100), conflicts_with = "name")]
    nodes: u16,
    /// A certificate to watch, in PEM: metrics tell when it expires. Read anew each minute
    #[arg(long = "certificate", value_name = "NAME=FILE")]
    certificates: Vec<Watched>,
    /// A segment of the write-ahead log of at least so many bytes is followed by a new one
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, value_parser = clap::value_parser!(u64).range(4096..))]
    segment_bytes: u64,
    /// Seconds that a client has to send the head of a request, and as many again for its body
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
    /// End when the process that started this one does
    #[arg(long, hide = true)]
    child: bool,
}

impl Options {
    fn cluster(&self) -> Result<Config> {
        let secret = self.secret.as_deref().map(read_secret).transpose()?;
        Ok(Config {
            node: Node { name: self.name.clone(), address: self.listen },
            peers: self.peers.clone(),
            secret,
            compare_every: Duration::from_secs(self.compare_every),
        })
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    log_as(&options);
    let done = if options.nodes > 1 { local::run(&options) } else { start(&options) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stemedb-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// To stderr, with the node's name where there are several.
fn log_as(options: &Options) {
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOG));
    let name = if options.peers.is_empty() { String::new() } else { format!("{}: ", options.name) };
    let line = move |out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>| {
        let (time, level) = (out.timestamp(), record.level());
        writeln!(out, "[{time} {level}] {name}{}", record.args())
    };
    builder.format(line).init();
}

/// The first line of a file.
fn read_secret(file: &Path) -> Result<Arc<str>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read the secret in {}", file.display()))?;
    let secret = text.lines().next().unwrap_or_default().trim();
    ensure!(!secret.is_empty(), "there is no secret in {}", file.display());
    Ok(secret.into())
}

fn start(options: &Options) -> Result<()> {
    if options.child {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM).context("cannot follow the parent")?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

async fn run(options: &Options) -> Result<()> {
    let mut config = options.cluster()?;
    config.check()?;
    let listener = tokio::net::TcpListener::bind(options.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
    config.node.address = listener.local_addr()?;
    let metrics = Metrics::new()?;
    let folders = Folders { segment_bytes: options.segment_bytes, ..Folders::below(&options.data) };
    let service = Service::open_as(&config.membership(), &folders, &metrics)
        .with_context(|| format!("cannot start with the data in {}", options.data.display()))?;
    if let Some(bytes) = memory::limit() {
        metrics.domain.memory_limit(bytes);
    }
    for certificate in &options.certificates {
        certificate.measure(&metrics)?;
    }
    let cluster = Cluster::start(&config, service.clone(), &metrics).await?;
    let patience = Duration::from_secs(options.patience);
    let app = router(&service, cluster.view().clone(), &metrics, &Limits::default(), patience);
    let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! { _ = end.recv() => {}, _ = interrupt.recv() => {} }
        log::info!("ending");
    };
    // Who started it may wait for this line, or may listen no more: of several nodes, the first may be enough.
    let _ = writeln!(std::io::stdout(), "listening on http://{}", config.node.address);
    let chores = tokio::spawn(chores(service.clone(), cluster, options.certificates.clone(), metrics.clone()));
    serve(listener, app, &metrics.errors, patience, stop).await;
    chores.abort();
    tokio::task::spawn_blocking(move || service.journal().checkpoint())
        .await?
        .context("cannot make everything durable")?;
    Ok(())
}

/// What is done from time to time. What fails is told, and tried again the next time.
async fn chores(service: Arc<Service>, cluster: Cluster, certificates: Vec<Watched>, metrics: Metrics) {
    let mut ticks = tokio::time::interval(TICK);
    let begin = SystemTime::now();
    for tick in 1_u64.. {
        ticks.tick().await;
        for error in [service.measure(), cluster.measure()].into_iter().filter_map(Result::err) {
            log::error!("gauges are not up to date: {error}");
        }
        if tick % CERTIFICATES == 0 {
            for error in certificates.iter().filter_map(|certificate| certificate.measure(&metrics).err()) {
                log::error!("{error:#}");
            }
        }
        if tick % CHECKPOINT == 0 {
            let service = service.clone();
            match tokio::task::spawn_blocking(move || service.journal().checkpoint()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => log::error!("no checkpoint: {error}"),
                Err(error) => log::error!("no checkpoint: {error}"),
            }
        }
        if let Err(error) = decay(&service, &cluster, begin).await {
            log::error!("trust does not decay: {error}");
        }
    }
}

/// Lets trust decay where it is time to, and this node is the one to do so.
async fn decay(service: &Service, cluster: &Cluster, begin: SystemTime) -> Result<(), stemedb_node::service::Error> {
    // One that has just started may not have heard of the last time yet.
    let last = service.decayed()?.map_or(begin, |last| last.max(begin));
    if cluster.leads() && last.elapsed().is_ok_and(|since| since >= DECAY) {
        service.decay().await?;
    }
    Ok(())
}

/// The address of a port after another one.
fn nth(first: SocketAddr, number: u16) -> Result<SocketAddr> {
    let port = first.port().checked_add(number).with_context(|| format!("there is no port {number} after {first}"))?;
    // All of them must find each other.
    let ip = if first.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { first.ip() };
    Ok(SocketAddr::new(ip, port))
}
