//! What deploy/compose/compose.yml starts of ours starts, finds its peers and is watched: without Docker, in a network of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stemedb_kernel_tests::fs::run;
use stemedb_kernel_tests::netns::Network;
use stemedb_kernel_tests::{binary, wait_for};
use stemedb_stack::config::deploy;
use stemedb_stack::process::Process;

const LIMIT: Duration = Duration::from_mins(1);

#[test]
#[ignore = "runs the agent, hence as root: `cargo xtask test` runs it"]
fn the_commands_of_compose_make_a_cluster_that_is_watched() {
    let network = Network::new(0).unwrap();
    network.hub().unwrap().run(start_and_look).unwrap();
}

fn start_and_look() {
    let folder = tempfile::tempdir().unwrap();
    let understood = understood();
    for address in understood.lines().filter_map(|line| line.trim().strip_prefix("ipv4_address: ")) {
        run("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"].map(str::as_ref)).unwrap();
    }
    std::fs::write(folder.path().join("cluster"), "a secret of at least sixteen bytes\n").unwrap();
    let names = ["node-1", "node-2", "node-3", "agent", "load"];
    let _all = names.map(|name| start(name, &command(&understood, name), folder.path()));
    let shows = |url: &str, what: fn(&str) -> bool| {
        let look =
            || ureq::get(url).call().ok()?.body_mut().read_to_string().ok().filter(|text| text.lines().any(what));
        wait_for(url, LIMIT, look).unwrap();
    };
    shows("http://172.30.77.11:18180/metrics", |line| line == "stemedb_cluster_nodes{state=\"alive\"} 3");
    shows("http://172.30.77.20:18190/metrics", |line| {
        line.starts_with("stemedb_wal_writes_total{target=\"stemedb\"") && !line.ends_with(" 0")
    });
}

/// compose.yml as Compose understands it.
fn understood() -> String {
    let output =
        Command::new("docker-compose").arg("-f").arg(deploy().join("compose/compose.yml")).arg("config").output();
    let output =
        output.unwrap_or_else(|error| panic!("docker-compose: {error}; `cargo xtask setup --tests` installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The words of a service's command, which may go on in lines that are further to the right.
fn command(understood: &str, service: &str) -> Vec<String> {
    let (_, rest) = understood.split_once(&format!("\n  {service}:\n")).unwrap();
    let (_, rest) = rest.split_once("    command: ").unwrap();
    let mut lines = rest.lines();
    let first = lines.next().unwrap();
    let more = lines.take_while(|line| line.starts_with("      "));
    std::iter::once(first).chain(more).flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Starts it with what is mounted in the container in its place here.
fn start(name: &str, words: &[String], folder: &Path) -> Process {
    let program = words[0].strip_prefix("/opt/stemedb/").unwrap();
    let mut command = Command::new(binary(program).unwrap());
    command.args(words[1..].iter().map(|word| match word.as_str() {
        "/var/lib/stemedb" => folder.join(name).display().to_string(),
        "/run/secrets/cluster" => folder.join("cluster").display().to_string(),
        other => other.to_owned(),
    }));
    Process::start(name, command, folder).unwrap()
}
