//! The command line of the load; see `--help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::http::Uri;
use clap::Parser;
use stemedb_node::load::{self, Options};

/// Sends requests to a node as many independent clients would: they come whether or not those before have been answered
///
/// Latencies are measured from the moment at which a request should have begun. SIGINT and SIGTERM end it with the report of what was sent.
/// Exit status: 0 where every request was answered, else 1.
#[derive(Parser)]
#[command(name = "stemedb-load", version)]
struct Arguments {
    /// A node; with several of them, requests go to one after the other
    #[arg(long = "node", value_name = "URL", default_value = "http://127.0.0.1:18180")]
    nodes: Vec<Uri>,
    /// Requests a second, on average
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    rate: f64,
    /// For how long
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The share of requests that are wrong: bodies that are no JSON, fields that are missing, unknown paths
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    bad: f64,
    /// The same number makes the same requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
    if (0.001..=1e6).contains(&rate) { Ok(rate) } else { Err("must be 0.001 to 1,000,000".into()) }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be 0 to 1".into()) }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stemedb-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every request was answered.
fn run(arguments: Arguments) -> Result<bool> {
    for node in &arguments.nodes {
        ensure!(
            node.scheme_str() == Some("http") && node.host().is_some(),
            "{node} is not as in http://127.0.0.1:18180"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stop = Arc::new(AtomicBool::new(false));
    runtime.spawn(await_end(stop.clone()));
    let options = Options {
        nodes: arguments.nodes,
        rate: arguments.rate,
        time: Duration::from_secs(arguments.seconds),
        bad: arguments.bad,
        seed: arguments.seed,
    };
    let report = load::run(&options, &runtime, &stop)?;
    if arguments.json {
        println!("{}", report.json());
    } else {
        println!("{}", report.text());
    }
    Ok(report.failed() == 0 && report.not_sent == 0)
}

async fn await_end(stop: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut end), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    tokio::select! { _ = end.recv() => {}, _ = interrupt.recv() => {} }
    stop.store(true, Ordering::Relaxed);
}
