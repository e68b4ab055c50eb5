//! Every alert: when it fires, what it says, and two cases that show both, for `promtool test rules`.

mod access;
mod agent;
mod api;
mod cluster;
mod disk;
mod domain;
mod host;
mod storage;
pub(crate) mod thresholds;
mod wal;

use crate::slo;
use crate::yaml::{self, quoted};

/// Where the runbooks are.
pub const RUNBOOKS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/deploy/runbooks");

/// How soon somebody must look, and who is told: `deploy/alertmanager`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Now.
    Critical,
    /// Within half an hour.
    Warning,
    /// Some day.
    Info,
}

impl Severity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Warning, Self::Info];

    /// The value of the label `severity`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A disk fails once, and the database then refuses to write: nothing fails again, nothing is well, and the incident is not to resolve itself before
/// the last of those who are called has been (`deploy/alertmanager/escalation-policy.json`: after half an hour).
pub(crate) const ONCE: &str = "30m";

/// An alert.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Its name.
    pub name: &'static str,
    /// How soon somebody must look.
    pub severity: Severity,
    /// The value of the label `component`: what to look at.
    pub component: &'static str,
    /// What it is about: of two alerts with the same, the critical one silences the other.
    pub subject: &'static str,
    /// When it fires.
    pub expr: String,
    /// For how long that must have been so.
    pub wait: &'static str,
    /// For how long it goes on after that was so last: [`ONCE`] for what happens once and is not over with that.
    pub keep: &'static str,
    /// One line; may have templates.
    pub summary: &'static str,
    /// With the figures; may have templates.
    pub description: &'static str,
    /// Where it fires, and says what it should.
    pub fires: Fires,
    /// Where it just does not.
    pub silent: Silent,
}

/// Series as promtool writes them, one sample each half minute.
pub type Series = &'static [(&'static str, &'static str)];

/// A case in which an alert fires.
#[derive(Debug, Clone, Copy)]
pub struct Fires {
    /// What there is.
    pub series: Series,
    /// When it does not fire yet.
    pub not_yet: &'static str,
    /// When it fires.
    pub at: &'static str,
    /// Its labels, without those that every alert has.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it says, written out.
    pub summary: &'static str,
    /// What it says, written out.
    pub description: &'static str,
}

/// A case in which it does not, just below its threshold.
#[derive(Debug, Clone, Copy)]
pub struct Silent {
    /// What there is.
    pub series: Series,
    /// When.
    pub at: &'static str,
}

/// Every alert, in the order of the files.
#[must_use]
pub fn all() -> Vec<Alert> {
    let all = [
        api::alerts(),
        access::alerts(),
        wal::alerts(),
        storage::alerts(),
        disk::alerts(),
        cluster::alerts(),
        domain::alerts(),
        host::alerts(),
        agent::alerts(),
        slo::alerts(),
    ];
    all.concat()
}

impl Alert {
    /// Where to read what to do.
    #[must_use]
    pub fn runbook(&self) -> String {
        format!("{RUNBOOKS}/{}.md", self.name)
    }
}

/// The rule file of a severity.
#[must_use]
pub fn rules(severity: Severity) -> String {
    let mut out = yaml::head("alerts/");
    out += &format!("groups:\n  - name: stemedb_{}\n    rules:\n", severity.word());
    for alert in all().iter().filter(|alert| alert.severity == severity) {
        out += &format!("      - alert: {}\n        expr: |-\n{}", alert.name, yaml::block(&alert.expr, 10));
        if alert.wait != "0s" {
            out += &format!("        for: {}\n", alert.wait);
        }
        if alert.keep != "0s" {
            out += &format!("        keep_firing_for: {}\n", alert.keep);
        }
        out += "        labels:\n";
        for (name, value) in labels(alert) {
            out += &format!("          {name}: {value}\n");
        }
        out += &format!(
            "        annotations:\n          summary: {}\n          description: {}\n          runbook_url: {}\n",
            quoted(alert.summary),
            quoted(alert.description),
            alert.runbook()
        );
    }
    out
}

fn labels(alert: &Alert) -> [(&'static str, &'static str); 3] {
    [("severity", alert.severity.word()), ("component", alert.component), ("subject", alert.subject)]
}

/// The tests of all alerts, for `promtool test rules`.
#[must_use]
pub fn tests() -> String {
    let mut out = yaml::head("alerts/");
    out += "rule_files:\n  - ../recording.yml\n  - ../slo.yml\n";
    for severity in Severity::ALL {
        out += &format!("  - {}.yml\n", severity.word());
    }
    out += "evaluation_interval: 30s\n\ntests:\n";
    for alert in all() {
        let Fires { series, not_yet, at, summary, description, .. } = alert.fires;
        out += &case(&alert, "fires", series);
        out += &expected(&alert, not_yet, None);
        out += &expected(&alert, at, Some((summary, description)));
        out += &case(&alert, "is silent", alert.silent.series);
        out += &expected(&alert, alert.silent.at, None);
    }
    out
}

fn case(alert: &Alert, does: &str, series: Series) -> String {
    let mut out = format!("  - name: {} {does}\n    interval: 30s\n    input_series:\n", alert.name);
    for (series, values) in series {
        out += &format!("      - series: {}\n        values: {}\n", quoted(series), quoted(values));
    }
    out + "    alert_rule_test:\n"
}

fn expected(alert: &Alert, at: &str, told: Option<(&str, &str)>) -> String {
    let mut out = format!("      - eval_time: {at}\n        alertname: {}\n", alert.name);
    let Some((summary, description)) = told else { return out + "        exp_alerts: []\n" };
    out += "        exp_alerts:\n          - exp_labels:\n";
    for (name, value) in labels(alert).iter().chain(alert.fires.labels) {
        out += &format!("              {name}: {}\n", quoted(value));
    }
    out + &format!(
        "            exp_annotations:\n              summary: {}\n              description: {}\n              runbook_url: {}\n",
        quoted(summary),
        quoted(description),
        alert.runbook()
    )
}
