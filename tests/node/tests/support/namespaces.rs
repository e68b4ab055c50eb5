//! Hosts of the test's own: network namespaces on one bridge, each of which can be cut off.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Runs things in a network namespace.
#[derive(Clone)]
pub(crate) struct Inside(Arc<File>);

impl Inside {
    /// On a thread that enters it; what it starts is in it too.
    pub(crate) fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&*self.0, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        };
        thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }
}

/// Where the server of a host listens.
pub(crate) fn address(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, u8::try_from(host).unwrap() + 1], 18180))
}

/// Hosts; they are gone when this is dropped.
pub(crate) struct Network {
    prefix: String,
    hosts: usize,
}

impl Network {
    pub(crate) fn new(hosts: usize) -> Self {
        // Of this process, so that two runs do not meet.
        let network = Self { prefix: format!("stemedb{}", std::process::id()), hosts };
        let bridge = network.bridge();
        ip(&format!("netns add {bridge}"));
        ip(&format!("-n {bridge} link add name bridge type bridge"));
        ip(&format!("-n {bridge} link set bridge up"));
        for host in 0..hosts {
            let name = network.name(host);
            ip(&format!("netns add {name}"));
            ip(&format!("-n {bridge} link add host{host} type veth peer name eth0 netns {name}"));
            ip(&format!("-n {bridge} link set host{host} master bridge up"));
            ip(&format!("-n {name} address add {}/24 dev eth0", address(host).ip()));
            ip(&format!("-n {name} link set eth0 up"));
            ip(&format!("-n {name} link set lo up"));
        }
        network
    }

    fn bridge(&self) -> String {
        format!("{}-bridge", self.prefix)
    }

    fn name(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    pub(crate) fn enter(&self, host: usize) -> Inside {
        let path = format!("/run/netns/{}", self.name(host));
        Inside(Arc::new(File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"))))
    }

    /// Lets nothing pass to a host or from it.
    pub(crate) fn cut(&self, host: usize) {
        ip(&format!("-n {} link set host{host} nomaster", self.bridge()));
    }

    /// Lets everything pass again.
    pub(crate) fn heal(&self, host: usize) {
        ip(&format!("-n {} link set host{host} master bridge", self.bridge()));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in (0..self.hosts).map(|host| self.name(host)).chain([self.bridge()]) {
            // One that was not made is none to remove.
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    let status = status.unwrap_or_else(|error| panic!("ip: {error}; install iproute2 (cargo xtask setup --tests)"));
    assert!(status.success(), "ip {arguments}: {status}; network namespaces are made by root");
}
