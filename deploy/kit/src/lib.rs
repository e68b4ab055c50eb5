//! The monitoring kit: what is in deploy/, made from the catalogues of the agent and of `stemedb-metrics`.
#![forbid(unsafe_code)]

pub mod alerts;
pub mod dashboards;
pub mod names;
pub mod promql;
pub mod scrape;
pub mod slo;
pub mod yaml;

use alerts::Severity;

/// Every file that is generated, below deploy/, with what is in it.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let alerts =
        Severity::ALL.map(|severity| (format!("prometheus/alerts/{}.yml", severity.word()), alerts::rules(severity)));
    let places = scrape::Places::default();
    let mut files = vec![
        ("prometheus/slo.yml".to_owned(), slo::recording()),
        ("prometheus/alerts/tests.yml".to_owned(), alerts::tests()),
        ("prometheus/prometheus.yml".to_owned(), scrape::fixed(&places)),
        ("prometheus/prometheus-compose.yml".to_owned(), scrape::fixed(&scrape::Places::compose())),
        ("prometheus/prometheus-files.yml".to_owned(), scrape::from_files()),
        ("prometheus/prometheus-kubernetes.yml".to_owned(), scrape::from_kubernetes()),
        ("prometheus/targets/nodes.yml".to_owned(), scrape::targets(&places.nodes)),
        ("prometheus/targets/agents.yml".to_owned(), scrape::targets(&places.agents)),
    ];
    files.extend(alerts);
    for board in dashboards::all() {
        let text = serde_json::to_string_pretty(&board.json(alerts::RUNBOOKS)).unwrap_or_default() + "\n";
        files.push((format!("grafana/dashboards/{}.json", board.uid), text));
    }
    files
}
