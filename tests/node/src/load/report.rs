//! What came of a load.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use tokio::task::JoinError;

/// Digits of a latency that are exact: an error of at most 0.1 %.
const DIGITS: u8 = 3;

/// One request's end.
#[derive(Debug)]
pub struct Answer {
    /// The method.
    pub method: &'static str,
    /// The path's template.
    pub path: &'static str,
    /// The status, or why there was none.
    pub result: Result<StatusCode, String>,
    /// From the moment at which it should have begun to the last byte of the answer.
    pub latency: Duration,
    /// How long after this moment it was begun: the load's own fault.
    pub late: Duration,
}

/// Latencies in microseconds.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        match Histogram::new(DIGITS) {
            Ok(histogram) => Self(histogram),
            Err(_) => unreachable!("up to five digits are allowed"),
        }
    }
}

impl Latencies {
    fn add(&mut self, latency: Duration) {
        // Not `saturating_record`: that one does not let it grow. What takes longer than 2^63 µs is nobody's to see.
        let _ = self.0.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// A quantile, from 0 to 1, in seconds.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }

    /// The longest, in seconds.
    pub fn max(&self) -> f64 {
        self.0.max() as f64 / 1e6
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = |(name, quantile): (&'static str, f64)| (name, self.quantile(quantile));
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)].map(named);
        serializer.collect_map(quantiles.into_iter().chain([("max", self.max())]))
    }
}

/// The requests of one route.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    /// How many had each status.
    pub statuses: BTreeMap<u16, u64>,
    /// How many had no answer.
    pub failed: u64,
    /// Of those that were answered, in seconds.
    pub latency: Latencies,
}

/// What came of a load, by method and path.
#[derive(Debug, Default)]
pub struct Report {
    /// For how long requests were sent.
    pub time: Duration,
    /// Requests by method and path's template.
    pub rows: BTreeMap<(&'static str, &'static str), Row>,
    /// Requests that should have been sent, but too many were on their way.
    pub not_sent: u64,
    /// Of all that were answered.
    pub latency: Latencies,
    /// How late requests were begun: the load's own error, which is in the latencies.
    pub late: Latencies,
    /// Why there was no answer, the last time.
    pub error: Option<String>,
}

impl Report {
    pub(super) fn take(&mut self, answer: Result<Answer, JoinError>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.error = Some(error.to_string());
                return;
            }
        };
        let row = self.rows.entry((answer.method, answer.path)).or_default();
        self.late.add(answer.late);
        match answer.result {
            Ok(status) => {
                *row.statuses.entry(status.as_u16()).or_default() += 1;
                row.latency.add(answer.latency);
                self.latency.add(answer.latency);
            }
            Err(error) => {
                row.failed += 1;
                self.error = Some(error);
            }
        }
    }

    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.latency.count()
    }

    /// Requests that had no answer.
    pub fn failed(&self) -> u64 {
        self.rows.values().map(|row| row.failed).sum()
    }

    /// Requests that were answered, by method, path and status.
    pub fn counts(&self) -> BTreeMap<(String, String, u16), u64> {
        let of_row = |((method, path), row): (&(&str, &str), &Row)| {
            let key = (method.to_string(), path.to_string());
            let statuses: Vec<_> = row.statuses.iter().map(|(status, count)| (*status, *count)).collect();
            statuses.into_iter().map(move |(status, count)| ((key.0.clone(), key.1.clone(), status), count))
        };
        self.rows.iter().flat_map(of_row).collect()
    }

    /// For programs.
    pub fn json(&self) -> serde_json::Value {
        let row = |((method, path), row): (&(&str, &str), &Row)| {
            let Row { statuses, failed, latency } = row;
            serde_json::json!({ "method": method, "path": path, "statuses": statuses, "failed": failed, "latency_seconds": latency })
        };
        serde_json::json!({
            "seconds": self.time.as_secs_f64(),
            "answered": self.answered(),
            "failed": self.failed(),
            "not_sent": self.not_sent,
            "latency_seconds": self.latency,
            "begun_late_seconds": self.late,
            "routes": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!(
            "{:<7}{:<26}{:>9}{:>10}{:>10}{:>10}{:>10}  statuses\n",
            "method", "path", "answers", "p50", "p99", "p99.9", "max"
        );
        for ((method, path), row) in &self.rows {
            let statuses: Vec<String> =
                row.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
            let figures = figures(&row.latency);
            out += &format!("{method:<7}{path:<26}{:>9}{figures}  {}\n", row.latency.count(), statuses.join(", "));
        }
        out += &format!("{:<33}{:>9}{}\n", "all", self.answered(), figures(&self.latency));
        let rate = self.answered() as f64 / self.time.as_secs_f64().max(f64::EPSILON);
        out += &format!(
            "{rate:.0} answers a second; {} without an answer, {} not sent; begun late by {} (p99), which is in these figures",
            self.failed(),
            self.not_sent,
            milliseconds(self.late.quantile(0.99)),
        );
        if let Some(error) = &self.error {
            out += &format!("; the last failure: {error}");
        }
        out
    }
}

fn figures(latencies: &Latencies) -> String {
    let quantiles = [0.5, 0.99, 0.999].map(|quantile| latencies.quantile(quantile));
    quantiles
        .into_iter()
        .chain([latencies.max()])
        .map(|seconds| format!("{:>10}", milliseconds(seconds)))
        .collect::<Vec<_>>()
        .concat()
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_exact_to_a_thousandth_however_long_it_was() {
        let mut latencies = Latencies::default();
        for micros in [1_u64, 999, 123_456, 10_000_000, 3_600_000_000] {
            latencies.add(Duration::from_micros(micros));
            let seconds = micros as f64 / 1e6;
            assert!((latencies.max() / seconds - 1.0).abs() <= 0.001, "{} instead of {seconds}", latencies.max());
        }
        assert_eq!(latencies.count(), 5);
        assert!((latencies.quantile(0.5) / 0.123_456 - 1.0).abs() <= 0.001);
    }
}
