//! The command line of the node; see `--help`.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use stemedb_metrics::Metrics;
use stemedb_node::api::{Limits, router};
use stemedb_node::service::{Folders, Service};
use tokio::signal::unix::{SignalKind, signal};

/// How often what grows old by itself is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two checkpoints.
const CHECKPOINT: u64 = 30;
/// Ticks between two decays of trust.
const DECAY: u64 = 60;

/// A small StemeDB-shaped server: a write-ahead log with group commit, two storage engines, an HTTP API, metrics
///
/// All data is in one folder. SIGTERM and SIGINT end it in order: requests that have begun are answered, and what was written is made durable.
#[derive(Parser)]
#[command(name = "stemedb-node", version)]
struct Options {
    /// Where the API and /metrics are
    #[arg(long, default_value = "127.0.0.1:18180")]
    listen: SocketAddr,
    /// The folder for all data; made where it is not there
    #[arg(long, default_value = "stemedb-data")]
    data: PathBuf,
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match start(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stemedb-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

async fn run(options: &Options) -> Result<()> {
    let metrics = Metrics::new()?;
    let folders = Folders::below(&options.data);
    let service = Service::open(&folders, &metrics)
        .with_context(|| format!("cannot start with the data in {}", options.data.display()))?;
    let listener = tokio::net::TcpListener::bind(options.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
    let app = router(service.clone(), &metrics, &Limits::default());
    let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! { _ = end.recv() => {}, _ = interrupt.recv() => {} }
        log::info!("ending");
    };
    // Who started it may wait for this line.
    println!("listening on http://{}", listener.local_addr()?);
    let chores = tokio::spawn(chores(service.clone()));
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    chores.abort();
    let last = service.clone();
    tokio::task::spawn_blocking(move || last.journal().checkpoint())
        .await?
        .context("cannot make everything durable")?;
    Ok(())
}

/// What is done from time to time.
async fn chores(service: Arc<Service>) {
    let mut ticks = tokio::time::interval(TICK);
    for tick in 1_u64.. {
        ticks.tick().await;
        service.measure_breakers();
        if tick % CHECKPOINT == 0 {
            let service = service.clone();
            match tokio::task::spawn_blocking(move || service.journal().checkpoint()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => log::error!("no checkpoint: {error}"),
                Err(error) => log::error!("no checkpoint: {error}"),
            }
        }
        if tick % DECAY == 0
            && let Err(error) = service.decay().await
        {
            log::error!("trust does not decay: {error}");
        }
    }
}
