//! Hosts of a test's own: network namespaces on one bridge, each of which can be cut off from the others.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::{io, panic, thread};

use anyhow::{Context as _, Result, ensure};

/// Where nothing is: what is sent there gets lost on the way.
const NOWHERE: &str = "02:00:00:00:00:ff";

/// Runs things in a network namespace.
#[derive(Clone, Debug)]
pub struct Inside(Arc<File>);

impl Inside {
    /// On a thread that enters it; what it starts is in it too.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T> {
        let enter = || {
            // SAFETY: the descriptor is open as long as `self` is, and setns changes nothing but this thread.
            let entered = unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) };
            if entered != 0 {
                return Err(io::Error::last_os_error()).context("cannot enter a network namespace; as root?");
            }
            Ok(act())
        };
        thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|cause| panic::resume_unwind(cause))
    }
}

/// Where the server of a host listens.
#[must_use]
pub fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, host + 1], 18180))
}

/// Hosts, and a hub that sees all of them; they are gone when this is dropped.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    hosts: u8,
}

impl Network {
    /// So many hosts that see each other.
    pub fn new(hosts: u8) -> Result<Self> {
        let network = Self { prefix: crate::own_name("stemedb"), hosts };
        let hub = network.name("hub");
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link set lo up"))?;
        ip(&format!("-n {hub} link add name bridge type bridge"))?;
        ip(&format!("-n {hub} address add 10.77.0.254/24 dev bridge"))?;
        ip(&format!("-n {hub} link set bridge up"))?;
        for host in 0..hosts {
            let name = network.name(&host.to_string());
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {hub} link add host{host} type veth peer name eth0 netns {name}"))?;
            ip(&format!("-n {hub} link set host{host} master bridge up"))?;
            ip(&format!("-n {name} address add {}/24 dev eth0", address(host).ip()))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        Ok(network)
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    /// A host.
    pub fn host(&self, host: u8) -> Result<Inside> {
        self.enter(&host.to_string())
    }

    /// What sees all hosts.
    pub fn hub(&self) -> Result<Inside> {
        self.enter("hub")
    }

    fn enter(&self, part: &str) -> Result<Inside> {
        let path = PathBuf::from("/run/netns").join(self.name(part));
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Inside(Arc::new(file)))
    }

    /// What a host and the others send each other is lost from now on; the hub still sees it.
    pub fn cut(&self, host: u8) -> Result<()> {
        self.each_way(host, "replace", &format!(" lladdr {NOWHERE} nud permanent"))
    }

    /// Lets everything pass again.
    pub fn heal(&self, host: u8) -> Result<()> {
        self.each_way(host, "delete", "")
    }

    /// Changes where a host takes the others to be, and they it.
    fn each_way(&self, host: u8, change: &str, to: &str) -> Result<()> {
        for other in (0..self.hosts).filter(|other| *other != host) {
            for (from, of) in [(host, other), (other, host)] {
                let name = self.name(&from.to_string());
                ip(&format!("-n {name} neigh {change} {} dev eth0{to}", address(of).ip()))?;
            }
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let hosts = (0..self.hosts).map(|host| host.to_string());
        for part in hosts.chain(["hub".to_owned()]) {
            // One that was not made is none to remove.
            let _ = Command::new("ip").args(["netns", "del", &self.name(&part)]).output();
        }
    }
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.context("cannot run ip; `cargo xtask setup --tests` installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {}; network namespaces are made by root", said.trim());
    Ok(())
}
