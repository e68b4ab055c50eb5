//! Prometheus' and Alertmanager's own tools look at the kit.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stemedb_kit::alerts::{self, Severity};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs a tool, which must succeed, and gives what it says.
fn run(program: &str, folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).current_dir(folder).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask setup --tests` installs it"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

#[test]
fn rules_are_rules() {
    let files = ["recording.yml", "slo.yml", "alerts/critical.yml", "alerts/warning.yml", "alerts/info.yml"];
    let said =
        run("promtool", &deploy().join("prometheus"), &[&["check", "rules", "--lint-fatal"], &files[..]].concat());
    assert_eq!(said.matches("SUCCESS").count(), files.len(), "{said}");
    run("promtool", &deploy().join("prometheus"), &["test", "rules", "recording_test.yml"]);
}

#[test]
fn each_way_to_find_targets_is_a_configuration() {
    let folder = deploy().join("prometheus");
    for name in ["prometheus.yml", "prometheus-compose.yml", "prometheus-files.yml"] {
        run("promtool", &folder, &["check", "config", "--lint-fatal", name]);
    }
    let text = fs::read_to_string(folder.join("prometheus-files.yml")).unwrap();
    for (job, own, other) in [("stemedb", "nodes", "agents"), ("stemedb-probe", "agents", "nodes")] {
        let (_, rest) = text.split_once(&format!("job_name: {job}\n")).unwrap();
        let pattern = rest.lines().find(|line| line.contains("files:")).unwrap();
        assert!(pattern.contains(&format!("targets/{own}*.yml")) && !pattern.contains(other), "{job}: {pattern}");
        assert!(folder.join(format!("targets/{own}.yml")).exists());
    }
    // Debian's Prometheus is built without Kubernetes: all but the lines that name it is looked at.
    let text = fs::read_to_string(folder.join("prometheus-kubernetes.yml")).unwrap();
    let (begin, end) = ("    kubernetes_sd_configs:\n", "    relabel_configs:\n");
    let found = &text[text.find(begin).unwrap()..text.find(end).unwrap()];
    assert_eq!(text.matches(found).count(), 2);
    let copy = tempfile::Builder::new().suffix(".yml").tempfile_in(&folder).unwrap();
    fs::write(copy.path(), text.replace(found, "    static_configs: []\n")).unwrap();
    run("promtool", &folder, &["check", "config", "--lint-fatal", copy.path().to_str().unwrap()]);
}

#[test]
fn the_stack_in_containers_is_what_compose_expects() {
    let folder = deploy().join("compose");
    // Compose tells everything that it has understood, with anchors and paths in their places.
    let understood = run("docker-compose", &folder, &["-f", "compose.yml", "config"]);
    let services = ["node-1", "node-2", "node-3", "load", "agent", "prometheus", "alertmanager", "grafana"];
    for service in services {
        assert!(understood.contains(&format!("\n  {service}:\n")), "{service}: {understood}");
    }
    let own = deploy().parent().unwrap().display().to_string();
    let mounted = understood.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split(':').next());
    let mounted: Vec<&str> = mounted.filter(|path| path.starts_with(&own)).collect();
    assert!(mounted.len() > 8, "{understood}");
    // What the user makes and builds may not be there yet.
    for path in mounted.iter().filter(|path| !path.contains("/secrets") && !path.ends_with("/target/release")) {
        assert!(Path::new(path).exists(), "{path}");
    }
    let places = stemedb_kit::scrape::Places::compose();
    let words = understood.split_whitespace().collect::<Vec<_>>().join(" ");
    for address in places.nodes.iter().chain(&places.agents) {
        assert!(words.contains(&format!("--listen {address}")), "{address} is scraped, and nothing listens there");
        let (host, _) = address.split_once(':').unwrap();
        assert!(understood.contains(&format!("ipv4_address: {host}")), "{host}");
    }
    let ports: Vec<&str> = understood.lines().filter(|line| line.ends_with("/tcp")).collect();
    assert_eq!(ports.len(), 7, "of three nodes, the agent and three servers: {ports:?}");
    assert!(ports.iter().all(|port| port.contains("- 127.0.0.1:")), "open to everybody: {ports:?}");
    for (option, folder) in
        [("--config.file=/etc/prometheus/", "prometheus"), ("--config.file=/etc/alertmanager/", "alertmanager")]
    {
        let (_, rest) = words.split_once(option).unwrap();
        let name = rest.split(' ').next().unwrap();
        assert!(deploy().join(folder).join(name).exists(), "{folder}/{name}");
    }
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let folder = deploy().join("prometheus/alerts");
    run("promtool", &folder, &["test", "rules", "tests.yml", "edge_tests.yml"]);
    let cases = fs::read_to_string(folder.join("tests.yml")).unwrap();
    for alert in alerts::all() {
        for does in ["fires", "is silent"] {
            assert!(cases.contains(&format!("  - name: {} {does}\n", alert.name)), "{} {does}", alert.name);
        }
    }
}

/// Each figure that an alert compares with, made a little larger or smaller, makes one of its cases fail: the cases are at the threshold.
#[test]
fn a_threshold_that_is_moved_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let rules = deploy().join("prometheus");
    for name in ["recording.yml", "slo.yml"] {
        fs::copy(rules.join(name), folder.path().join(name)).unwrap();
    }
    let alerts = folder.path().join("alerts");
    fs::create_dir(&alerts).unwrap();
    fs::copy(rules.join("alerts/tests.yml"), alerts.join("tests.yml")).unwrap();
    let moved = [
        ("critical", "> 0.9\n", "> 0.905\n"),
        ("critical", "> 0.9\n", "> 0.89\n"),
        ("critical", "> 300\n", "> 299\n"),
        ("critical", "for: 1m\n", "for: 2m\n"),
        ("warning", "> 0.01\n", "> 0.008\n"),
        ("warning", "> 60\n", "> 59\n"),
        ("info", "> 100\n", "> 101\n"),
        ("info", "90 * 86400", "91 * 86400"),
    ];
    for (file, from, to) in moved {
        for severity in Severity::ALL {
            let name = format!("{}.yml", severity.word());
            let text = fs::read_to_string(rules.join("alerts").join(&name)).unwrap();
            let text = if severity.word() == file { text.replace(from, to) } else { text };
            fs::write(alerts.join(&name), text).unwrap();
        }
        let output =
            Command::new("promtool").current_dir(&alerts).args(["test", "rules", "tests.yml"]).output().unwrap();
        assert!(!output.status.success(), "{file}: {from:?} instead of {to:?} is not noticed");
    }
}

#[test]
fn each_severity_of_each_component_goes_where_it_should() {
    let folder = deploy().join("alertmanager");
    run("amtool", &folder, &["check-config", "alertmanager.yml"]);
    let components: std::collections::BTreeSet<&str> = alerts::all().iter().map(|alert| alert.component).collect();
    assert!(components.len() > 7, "{components:?}");
    for severity in Severity::ALL {
        for component in &components {
            let labels = [format!("severity={}", severity.word()), format!("component={component}")];
            let arguments = ["config", "routes", "test", "--config.file=alertmanager.yml", &labels[0], &labels[1]];
            let said = run("amtool", &folder, &arguments);
            // A warning may follow.
            assert_eq!(said.lines().next(), Some(severity.word()), "{labels:?}: {said}");
        }
    }
}

#[test]
fn an_alert_that_nobody_acknowledges_goes_up_after_5_15_and_30_minutes() {
    let text = fs::read_to_string(deploy().join("alertmanager/escalation-policy.json")).unwrap();
    let policy: serde_json::Value = serde_json::from_str(&text).unwrap();
    let steps = policy["escalation_policy"]["escalation_rules"].as_array().unwrap();
    let mut at = 0;
    let mut times = Vec::new();
    for step in steps {
        times.push(at);
        at += step["escalation_delay_in_minutes"].as_u64().unwrap();
        assert_eq!(step["targets"].as_array().map(Vec::len), Some(1), "{step}");
    }
    assert_eq!(times, [0, 5, 15, 30]);
}
