//! `stemedb-stack` as a person uses it: it says where everything is, and Ctrl-C ends all of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stemedb_kernel_tests::binary;
use stemedb_kernel_tests::netns::Network;

#[test]
#[ignore = "runs the agent, hence as root: `cargo xtask test` runs it"]
fn it_says_where_everything_is_and_ends_all_of_it() {
    // Where the usual ports are free.
    let network = Network::new(0).unwrap();
    network.hub().unwrap().run(begin_look_and_end).unwrap();
}

fn begin_look_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("stemedb-stack").unwrap());
    command.args(["--fast", "--nodes", "2", "--dir"]).arg(folder.path()).stdout(Stdio::piped());
    let mut stack = Stack(command.spawn().unwrap());
    let mut lines = BufReader::new(stack.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<String> = lines.by_ref().take_while(|line| !line.contains("Ctrl-C stops all of it")).collect();
    let urls: Vec<&str> =
        said.iter().flat_map(|line| line.split(' ')).filter(|word| word.starts_with("http://")).collect();
    assert_eq!(urls.len(), 5, "Prometheus, Alertmanager, the agent, two nodes: {said:?}");
    for url in urls {
        ureq::get(url).call().unwrap_or_else(|error| panic!("{url}: {error}"));
    }
    let parts = children(&stack.0);
    assert_eq!(parts.len(), 6, "those five and the load: {parts:?}");
    stack.interrupt();
    let left: Vec<String> = lines.collect();
    assert!(stack.0.wait().unwrap().success(), "{left:?}");
    let alive: Vec<&u32> = parts.iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(alive.is_empty(), "{alive:?} of {parts:?} are left");
}

/// The process, which is told to end all of it also where the test fails.
struct Stack(Child);

impl Stack {
    fn interrupt(&self) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGINT).unwrap();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.interrupt();
            let _ = self.0.wait();
        }
    }
}

/// The processes that a process has started.
fn children(of: &Child) -> Vec<u32> {
    let parent = format!("PPid:\t{}", of.id());
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        status.is_ok_and(|status| status.lines().any(|line| line == parent))
    };
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    all.filter_map(|name| name.to_string_lossy().parse().ok()).filter(is_child).collect()
}
