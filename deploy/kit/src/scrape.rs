//! Prometheus' own configuration: what it scrapes, which rules it has, whom it tells.

use crate::alerts::Severity;
use crate::names::{AGENT_JOB, NODE_JOB};
use crate::yaml;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// Addresses of nodes.
    pub nodes: Vec<String>,
    /// Addresses of agents.
    pub agents: Vec<String>,
    /// Addresses of Alertmanagers.
    pub alertmanagers: Vec<String>,
    /// What the one machine is called that all of them are on, whatever their addresses; without it each address has a machine of its own.
    pub host: Option<&'static str>,
    /// How often all is scraped and evaluated.
    pub interval: &'static str,
}

impl Default for Places {
    /// One machine with everything on it.
    fn default() -> Self {
        let one = |address: &str| vec![address.to_owned()];
        Self {
            nodes: one("127.0.0.1:18180"),
            agents: one("127.0.0.1:18190"),
            alertmanagers: one("127.0.0.1:9093"),
            host: None,
            interval: "15s",
        }
    }
}

impl Places {
    /// Those of deploy/compose/compose.yml, where each container has an address of its own, and all are on one machine.
    #[must_use]
    pub fn compose() -> Self {
        Self {
            nodes: (11..=13).map(|host| format!("172.30.77.{host}:18180")).collect(),
            agents: vec!["172.30.77.20:18190".into()],
            alertmanagers: vec!["alertmanager:9093".into()],
            host: Some("compose"),
            ..Self::default()
        }
    }
}

/// What makes a machine's node and agent meet: the label `host`, without the port.
const HOST: &str = "    relabel_configs:
      # What a node and an agent of one machine have in common.
      - source_labels: [__address__]
        regex: (.+):\\d+
        target_label: host
";

/// How pods are found, and which.
const PODS: &str = "    kubernetes_sd_configs:
      - role: pod
        # Of one cluster: budgets, quorums and machines of two are not to be added up.
        namespaces:
          names: [stemedb]
    relabel_configs:
      # A pod that has ended keeps its address for a while.
      - source_labels: [__meta_kubernetes_pod_phase]
        regex: Succeeded|Failed
        action: drop
      - source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_name]
        regex: JOB
        action: keep
      - source_labels: [__meta_kubernetes_pod_container_port_name]
        regex: metrics
        action: keep
      # What a node and an agent of one machine have in common.
      - source_labels: [__meta_kubernetes_pod_node_name]
        target_label: host
      - source_labels: [__meta_kubernetes_namespace]
        target_label: namespace
      - source_labels: [__meta_kubernetes_pod_name]
        target_label: pod
";

/// With targets that are written down.
#[must_use]
pub fn fixed(places: &Places) -> String {
    let host = places.host.map_or_else(|| HOST.to_owned(), |host| format!("        labels:\n          host: {host}\n"));
    let job = |name: &str, targets: &[String]| {
        format!("  - job_name: {name}\n    static_configs:\n      - targets: [{}]\n{host}", targets.join(", "))
    };
    head(places, "") + &job(NODE_JOB, &places.nodes) + &job(AGENT_JOB, &places.agents)
}

/// With targets from files, which Prometheus reads anew when they change.
#[must_use]
pub fn from_files() -> String {
    let job = |name: &str, files: &str| {
        format!("  - job_name: {name}\n    file_sd_configs:\n      - files: [targets/{files}*.yml]\n{HOST}")
    };
    let about = "# Targets are in targets/*.yml, which Prometheus reads anew when they change.\n";
    head(&Places::default(), about) + &job(NODE_JOB, "nodes") + &job(AGENT_JOB, "agents")
}

/// With targets that Kubernetes knows.
#[must_use]
pub fn from_kubernetes() -> String {
    let job = |name: &str| format!("  - job_name: {name}\n{}", PODS.replace("JOB", name));
    let about = "# Targets are pods with the label app.kubernetes.io/name=JOB and a port that is called metrics; the agents are a DaemonSet.\n# Several clusters: a Prometheus for each, or a job for each and rules for each job.\n";
    // A service of the same namespace.
    let places = Places { alertmanagers: vec!["alertmanager:9093".into()], ..Places::default() };
    head(&places, about) + &job(NODE_JOB) + &job(AGENT_JOB)
}

/// An example of a file of targets.
#[must_use]
pub fn targets(addresses: &[String]) -> String {
    format!("{}- targets: [{}]\n", yaml::head("scrape.rs"), addresses.join(", "))
}

fn head(places: &Places, about: &str) -> String {
    let alerts = Severity::ALL.map(|severity| format!("  - alerts/{}.yml\n", severity.word())).concat();
    let interval = places.interval;
    format!(
        "{}{about}global:
  scrape_interval: {interval}
  evaluation_interval: {interval}

rule_files:
  - recording.yml
  - slo.yml
{alerts}
alerting:
  alertmanagers:
    - static_configs:
        - targets: [{}]

scrape_configs:
",
        yaml::head("scrape.rs"),
        places.alertmanagers.join(", ")
    )
}
