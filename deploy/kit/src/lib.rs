//! The monitoring kit: what is in deploy/, made from the catalogues of the agent and of `stemedb-metrics`.
#![forbid(unsafe_code)]

pub mod alerts;
pub mod names;
pub mod promql;
pub mod slo;
pub mod yaml;

use alerts::Severity;

/// Every file that is generated, below deploy/, with what is in it.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let alerts =
        Severity::ALL.map(|severity| (format!("prometheus/alerts/{}.yml", severity.word()), alerts::rules(severity)));
    let mut files = vec![
        ("prometheus/slo.yml".to_owned(), slo::recording()),
        ("prometheus/alerts/tests.yml".to_owned(), alerts::tests()),
    ];
    files.extend(alerts);
    files
}
