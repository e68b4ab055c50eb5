//! The agent `stemedb-probe`.
//!
//! Data flows one way: kernel probe -> per-CPU map -> reader in [`probes`] -> [`snapshot`] -> [`catalog`] and [`export`] ->
//! [`http`]. Beside it [`targets`] and [`files`] tell the kernel side which processes and directories are of interest, and
//! [`kernel`] loads it, proves that its offsets are right and picks the hooks. Each stage knows only its neighbour;
//! [`agent`] holds them together.

pub mod agent;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod disks;
pub mod doctor;
pub mod export;
pub mod files;
pub mod http;
pub mod kernel;
pub mod probes;
pub mod process;
pub mod slow;
pub mod snapshot;
pub mod targets;
pub mod trace;

use std::future::Future;
use std::pin::Pin;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::Agent;
use crate::config::Config;
use crate::kernel::privileges;

/// Resolves when it is time to end.
pub(crate) type Shutdown = Pin<Box<dyn Future<Output = ()>>>;

/// Runs the agent until `shutdown` resolves. Everything in the kernel goes with the process, however it ends.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let missing = privileges::missing();
    anyhow::ensure!(missing.is_empty(), "{}", privileges::advice(&missing));
    // The port first: it is the likeliest to be refused, and nothing has been touched yet.
    let listener = http::bind(config.listen).await?;
    let agent = Agent::start(config)?;
    agent::serve(agent, listener, shutdown).await
}

/// Runs the agent until SIGTERM, SIGINT or SIGHUP.
pub fn run_until_signal(config: Config) -> anyhow::Result<()> {
    until_signal(|shutdown| run(config, shutdown))
}

/// Runs something that ends with SIGTERM, SIGINT or SIGHUP at the latest.
pub(crate) fn until_signal<R: Future<Output = anyhow::Result<()>>>(
    what: impl FnOnce(Shutdown) -> R,
) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        let mut signals = Vec::new();
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            signals.push(signal(kind).context("cannot listen for signals")?);
        }
        let shutdown = std::future::poll_fn(move |context| {
            let ready = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        // It holds the agent: too much for a stack.
        tokio::task::LocalSet::new().run_until(Box::pin(what(Box::pin(shutdown)))).await
    });
    // A file system that hangs must not keep the agent.
    runtime.shutdown_background();
    done
}
