//! A cluster on one machine: a process for each node, which all end with this one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stemedb_node::cluster::Node;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Options, nth};

/// How often it is looked whether a node has ended.
const LOOK: Duration = Duration::from_millis(200);

/// Runs nodes until they have all ended, or this process is told to.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.listen.port() != 0, "--nodes wants a port of --listen from which the others are counted, not 0");
    let node = |number| Ok(Node { name: format!("node-{}", number + 1), address: nth(options.listen, number)? });
    let secret = secret(&options.data)?;
    let nodes: Vec<Node> = (0..options.nodes).map(node).collect::<Result<_>>()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(watch(options, &nodes, &secret))
}

async fn watch(options: &Options, nodes: &[Node], secret: &Path) -> Result<()> {
    let (mut end, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut children: Vec<(&str, Child)> = Vec::new();
    for node in nodes {
        let child = Command::new(std::env::current_exe()?).args(arguments(options, node, nodes, secret)).spawn();
        children.push((&node.name, child.with_context(|| format!("cannot start {}", node.name))?));
    }
    let mut looks = tokio::time::interval(LOOK);
    let mut failed = false;
    while !children.is_empty() {
        tokio::select! {
            _ = end.recv() => stop(&children),
            _ = interrupt.recv() => stop(&children),
            _ = looks.tick() => {}
        }
        let mut left = Vec::new();
        for (name, mut child) in children {
            match child.try_wait()? {
                None => left.push((name, child)),
                Some(status) => {
                    failed |= !status.success();
                    log::info!("{name} has ended: {status}");
                }
            }
        }
        children = left;
    }
    ensure!(!failed, "not all nodes have ended well");
    Ok(())
}

fn arguments(options: &Options, node: &Node, nodes: &[Node], secret: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["--child", "--name", &node.name, "--listen", &node.address.to_string()].map(OsString::from).into();
    arguments.extend(["--compare-every".into(), options.compare_every.to_string().into()]);
    arguments.extend(["--segment-bytes".into(), options.segment_bytes.to_string().into()]);
    arguments.extend(["--patience".into(), options.patience.to_string().into()]);
    arguments.extend(["--data".into(), options.data.join(&node.name).into()]);
    arguments.extend(["--secret".into(), secret.into()]);
    for certificate in &options.certificates {
        arguments.extend(["--certificate".into(), certificate.to_string().into()]);
    }
    for peer in nodes.iter().filter(|peer| *peer != node) {
        arguments.extend(["--peer".into(), format!("{}={}", peer.name, peer.address).into()]);
    }
    arguments
}

/// The file with the cluster's secret, which is made where there is none.
fn secret(data: &Path) -> Result<PathBuf> {
    let file = data.join("secret");
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let made = File::options().write(true).create_new(true).mode(0o600).open(&file);
    match made {
        Ok(mut made) => writeln!(made, "{:032x}", rand::random::<u128>())?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", file.display())),
    }
    Ok(file)
}

fn stop(children: &[(&str, Child)]) {
    for (name, child) in children {
        let sent = i32::try_from(child.id()).map_err(|_| nix::Error::ESRCH);
        if let Err(error) = sent.and_then(|pid| kill(Pid::from_raw(pid), Signal::SIGTERM)) {
            log::warn!("{name} cannot be told to end: {error}");
        }
    }
}
