//! The kit's own files, with the places of this stack in them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use stemedb_kit::scrape::{self, Places};

use crate::receiver::Receiver;

/// How fast time goes for rules and routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As in production.
    Real,
    /// Ten times as fast: windows, waits and intervals of rules and routes are a tenth.
    Fast,
}

impl Pace {
    /// How often all is scraped and evaluated.
    #[must_use]
    pub fn interval(self) -> &'static str {
        match self {
            Self::Real => "5s",
            Self::Fast => "1s",
        }
    }
}

/// deploy/ of this workspace.
#[must_use]
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// Writes Prometheus' files into a folder, and gives its configuration.
pub fn prometheus(folder: &Path, places: &Places, pace: Pace) -> Result<PathBuf> {
    let from = deploy().join("prometheus");
    fs::create_dir_all(folder.join("alerts"))?;
    for name in ["recording.yml", "slo.yml", "alerts/critical.yml", "alerts/warning.yml", "alerts/info.yml"] {
        let text = read(&from.join(name))?;
        fs::write(folder.join(name), paced(&text, pace))?;
    }
    let config = folder.join("prometheus.yml");
    fs::write(&config, scrape::fixed(places))?;
    Ok(config)
}

/// Writes Alertmanager's files into a folder, with a receiver for PagerDuty and Slack, and gives its configuration.
pub fn alertmanager(folder: &Path, receiver: &Receiver, pace: Pace) -> Result<PathBuf> {
    let from = deploy().join("alertmanager");
    let secrets = folder.join("secrets");
    fs::create_dir_all(folder.join("templates"))?;
    fs::create_dir_all(&secrets)?;
    fs::write(secrets.join("slack_api_url"), receiver.url("/slack"))?;
    fs::write(secrets.join("pagerduty_high_urgency"), "high-urgency")?;
    fs::write(secrets.join("pagerduty_low_urgency"), "low-urgency")?;
    let template = "templates/stemedb.tmpl";
    fs::copy(from.join(template), folder.join(template)).with_context(|| format!("cannot copy {template}"))?;
    let text = read(&from.join("alertmanager.yml"))?;
    let text = text.replace("/etc/alertmanager/secrets", &secrets.display().to_string());
    let url = receiver.url("/pagerduty");
    let text = text.replace("global:\n", &format!("global:\n  pagerduty_url: {url}\n"));
    let config = folder.join("alertmanager.yml");
    fs::write(&config, paced(&text, pace))?;
    Ok(config)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What tells an age, so that its thresholds are durations too.
const AGE: &str = "stemedb_replication_lag_seconds";

/// Durations of rules and routes, a tenth of what they are. (Other thresholds are figures, not durations.)
fn paced(text: &str, pace: Pace) -> String {
    if pace == Pace::Real {
        return text.to_owned();
    }
    let line = |line: &str| {
        let keys = ["for: ", "keep_firing_for: ", "group_wait: ", "group_interval: "];
        let is_wait = keys.iter().any(|key| line.trim_start().starts_with(key));
        let windows = tenth_between(line, '[', ']');
        let line = if is_wait { tenth_after(&windows, ": ") } else { tenth_after(&windows, "offset ") };
        let line = if line.contains(AGE) { age(&line) } else { line };
        line + "\n"
    };
    text.lines().map(line).collect()
}

/// A tenth of the number of seconds after which something is too old.
fn age(line: &str) -> String {
    let Some((before, after)) = line.split_once(" > ") else { return line.to_owned() };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let Ok(seconds) = after[..end].parse::<u64>() else { return line.to_owned() };
    format!("{before} > {}{}", seconds / 10, &after[end..])
}

/// Durations in brackets.
fn tenth_between(line: &str, open: char, close: char) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(open) {
        let Some((inside, left)) = after.split_once(close) else { break };
        out += &format!("{before}{open}{}{close}", tenth(inside).unwrap_or_else(|| inside.to_owned()));
        rest = left;
    }
    out + rest
}

/// Durations after each of a word.
fn tenth_after(line: &str, word: &str) -> String {
    let mut parts = line.split(word);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        out += word;
        out += &tenth(&part[..end]).unwrap_or_else(|| part[..end].to_owned());
        out += &part[end..];
    }
    out
}

/// A tenth of a duration such as `5m`; nothing where it is none.
fn tenth(text: &str) -> Option<String> {
    let unit = text.chars().last()?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        's' => number,
        'm' => number * 60,
        'h' => number * 3_600,
        'd' => number * 86_400,
        _ => return None,
    };
    Some(format!("{}s", (seconds / 10).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_tenth_and_nothing_else_is_touched() {
        let cases = [
            ("        for: 5m", "        for: 30s\n"),
            ("        keep_firing_for: 30m", "        keep_firing_for: 180s\n"),
            ("  group_wait: 0s", "  group_wait: 1s\n"),
            ("  repeat_interval: 4h", "  repeat_interval: 4h\n"),
            ("rate(x{path=~\"[45]..\"}[5m]) > 0.9", "rate(x{path=~\"[45]..\"}[30s]) > 0.9\n"),
            ("x unless x offset 5m) > 0", "x unless x offset 30s) > 0\n"),
            ("    group_by: [alertname, job, component]", "    group_by: [alertname, job, component]\n"),
            ("max(stemedb_replication_lag_seconds) > 300", "max(stemedb_replication_lag_seconds) > 30\n"),
            ("max_over_time(y[1d])", "max_over_time(y[8640s])\n"),
            ("    summary: \"for 5m: x\"", "    summary: \"for 5m: x\"\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(paced(text, Pace::Fast), expected);
            assert_eq!(paced(text, Pace::Real), text);
        }
    }
}
