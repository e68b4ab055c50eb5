//! At the end: what the node and the load have counted themselves, beside what the kernel and the node have counted of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use stemedb_ebpf::lost::LOST;

use super::api::{Api, Route, VOTE};
use super::status::{CLASSES, QUANTILES, Status};
use crate::view::{self, grouped, seconds};

/// What the write-ahead log counts of its own calls.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct Wal {
    /// Group commits: one `write` and one `fdatasync` each.
    commits: u64,
    entries: u64,
    bytes: u64,
    fsyncs: u64,
}

impl Wal {
    /// Reads an answer of the node.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).with_context(|| format!("cannot read the log's counts: {text}"))
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            commits: self.commits - earlier.commits,
            entries: self.entries - earlier.entries,
            bytes: self.bytes - earlier.bytes,
            fsyncs: self.fsyncs - earlier.fsyncs,
        }
    }
}

/// What the load says at its end.
#[derive(Debug, Deserialize)]
pub(crate) struct Load {
    answered: u64,
    failed: u64,
    not_sent: u64,
    latency_seconds: Latency,
    routes: Vec<LoadRow>,
}

#[derive(Debug, Deserialize)]
struct LoadRow {
    method: String,
    path: String,
    statuses: BTreeMap<u16, u64>,
    latency_seconds: Latency,
}

/// Latencies of answered requests, in seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

impl Load {
    /// Reads its report.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("cannot read the load's report: {line}"))
    }

    fn answers(&self) -> BTreeMap<Route, u64> {
        let of_row = |row: &LoadRow| {
            let route = |(status, count): (&u16, &u64)| ((row.method.clone(), row.path.clone(), *status), *count);
            row.statuses.iter().map(route).collect::<Vec<_>>()
        };
        self.routes.iter().flat_map(of_row).collect()
    }
}

/// All that was counted.
pub(crate) struct Counts {
    pub(crate) kernel: Status,
    /// Before the load, when the agent watched already.
    pub(crate) wal_before: Wal,
    pub(crate) wal: Wal,
    pub(crate) api: Api,
    pub(crate) load: Load,
}

/// The closing text, and whether all have counted the same.
pub(crate) fn summary(counts: &Counts) -> (String, bool) {
    let (log, log_is_equal) = log(counts);
    let (api, api_is_equal) = api(counts);
    let equal = log_is_equal && api_is_equal;
    let mut lines = log;
    lines.push(String::new());
    lines.extend(api);
    lines.push(String::new());
    lines.extend(latencies(counts));
    lines.push(String::new());
    lines.push(format!("wal fsync time: {}", shares(&counts.kernel)));
    lines.push(lost(&counts.kernel));
    let verdict =
        if equal { "equal: every call and every byte of the log, every answer of the API" } else { "NOT equal" };
    lines.push(verdict.into());
    (lines.join("\n"), equal)
}

/// The log's calls: what the kernel saw, and what the log says.
fn log(counts: &Counts) -> (Vec<String>, bool) {
    let own = counts.wal.since(counts.wal_before);
    let kernel = |op| counts.kernel.calls("wal", op);
    let rows = [
        ("write", kernel("write"), own.commits),
        ("bytes written", counts.kernel.written("wal").1, own.bytes),
        ("fdatasync", kernel("fdatasync"), own.commits),
        ("fsync", kernel("fsync"), own.fsyncs),
    ];
    let cells = rows.map(|(what, kernel, own)| {
        let verdict = if kernel == own { "=" } else { "DIFFERENT" };
        vec![what.to_owned(), grouped(kernel), grouped(own), verdict.to_owned()]
    });
    let lines = view::table(&["write-ahead log", "kernel counted", "node counted", ""], &cells, 1);
    let equal = rows.iter().all(|(_, kernel, own)| kernel == own) && own.commits > 0;
    (lines, equal)
}

/// The API's answers: what the node exports, and what the load got.
fn api(counts: &Counts) -> (Vec<String>, bool) {
    let (node, load) = (&counts.api.answers, counts.load.answers());
    let wrong: Vec<String> = node
        .keys()
        .chain(load.keys())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .map(|route| (route, node.get(route).copied().unwrap_or(0), load.get(route).copied().unwrap_or(0)))
        .filter(|(_, node, load)| node != load)
        .map(|((method, path, status), node, load)| {
            format!("DIFFERENT: {method} {path} {status}: node {node}, load {load}")
        })
        .collect();
    let refused: u64 = load.iter().filter(|(route, _)| route.2 >= 400).map(|(_, count)| count).sum();
    let answers: u64 = load.values().sum();
    let (failed, not_sent) = (counts.load.failed, counts.load.not_sent);
    let (answers, refused) = (grouped(answers), grouped(refused));
    let mut lines = vec![
        format!("API: {answers} answers, {refused} of them refusals; {failed} without an answer, {not_sent} not sent"),
        format!("     by {} methods, paths and statuses, counted by the load and by the node", load.len()),
    ];
    let equal = wrong.is_empty() && counts.load.failed == 0 && counts.load.not_sent == 0 && !load.is_empty();
    lines.extend(wrong);
    (lines, equal)
}

/// A request as its client saw it, and the sync calls below it as the kernel did.
fn latencies(counts: &Counts) -> Vec<String> {
    let row = |name: String, answers: u64, Latency { p50, p99, p999, max }: Latency| {
        let mut cells = vec![name, grouped(answers)];
        cells.extend([p50, p99, p999, max].map(seconds));
        cells
    };
    let load = &counts.load;
    let votes = load.routes.iter().filter(|row| (row.method.as_str(), row.path.as_str()) == VOTE);
    let of_load = votes
        .map(|vote| row(format!("{} {}", vote.method, vote.path), vote.statuses.values().sum(), vote.latency_seconds));
    let of_load = of_load.chain([row("all routes".into(), load.answered, load.latency_seconds)]);
    let of_kernel = CLASSES.into_iter().map(|class| (class, counts.kernel.latency(class)));
    let of_kernel = of_kernel.filter(|(_, latency)| latency.calls > 0).map(|(class, latency)| {
        let mut cells = vec![format!("{class} fsync"), grouped(latency.calls)];
        // A quantile is within 4.5 %, and the longest call is exact.
        let longest = latency.max_ns as f64 / 1e9;
        cells.extend(
            QUANTILES.map(|q| latency.quantile(q).map_or_else(|| "-".into(), |value| seconds(value.min(longest)))),
        );
        cells.push(seconds(longest));
        cells
    });
    view::table(&["", "calls", "p50", "p99", "p99.9", "max"], &of_load.chain(of_kernel).collect::<Vec<_>>(), 1)
}

fn shares(kernel: &Status) -> String {
    let shares = kernel.shares(&Status::default(), "wal");
    shares.iter().map(|(phase, share)| format!("{phase} {:.1} %", share * 100.0)).collect::<Vec<_>>().join(", ")
}

/// What the agent has lost, by reason, with what that means.
fn lost(status: &Status) -> String {
    let meaning = |reason: &str| LOST.iter().find(|(name, _)| *name == reason).map_or("", |(_, meaning)| meaning);
    let reasons: Vec<String> = status
        .lost
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{} by {reason}: {}", grouped(*count), meaning(reason)))
        .collect();
    if reasons.is_empty() { "lost: 0".into() } else { format!("lost: {}", reasons.join("\n      ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::status::tests::ANSWER;

    const SAMPLE: &str =
        "stemedb_http_request_duration_seconds_count{method=\"POST\",path=\"/v1/vote\",status=\"201\"} 40\n";
    const LOAD: &str = r#"{"answered":40,"failed":0,"not_sent":0,
        "latency_seconds":{"p50":0.001,"p90":0.001,"p99":0.002,"p99.9":0.003,"max":0.0052},"routes":[{"method":"POST","path":"/v1/vote","statuses":{"201":40},"failed":0,
        "latency_seconds":{"p50":0.001,"p90":0.001,"p99":0.002,"p99.9":0.003,"max":0.0052}}]}"#;

    /// What fits `ANSWER`, but for a `pwrite64` that it has as well.
    fn counts() -> Counts {
        let kernel = ANSWER.replace(r#"{"op":"write","calls":5,"#, r#"{"op":"write","calls":12,"#);
        Counts {
            kernel: Status::parse(&kernel).unwrap(),
            wal_before: Wal { commits: 100, entries: 100, bytes: 1_000, fsyncs: 7 },
            wal: Wal { commits: 112, entries: 140, bytes: 21_490, fsyncs: 8 },
            api: Api::parse(SAMPLE).unwrap(),
            load: Load::parse(LOAD).unwrap(),
        }
    }

    #[test]
    fn what_all_count_alike_is_equal() {
        let (text, equal) = summary(&counts());
        assert!(equal && text.contains("lost: 0\nequal: every call"), "{text}");
        assert!(text.contains("20,490") && text.contains("POST /v1/vote     40  1.00 ms"), "{text}");
        assert!(text.contains("API: 40 answers, 0 of them refusals"), "{text}");
        assert!(!text.contains("DIFFERENT"), "{text}");
    }

    #[test]
    fn one_call_one_byte_or_one_answer_makes_a_difference() {
        let cases: [fn(&mut Counts); 6] = [
            |counts| counts.wal.commits += 1,
            |counts| counts.wal.bytes += 1,
            |counts| counts.wal_before.fsyncs -= 1,
            |counts| counts.api.answers.extend([(("GET".into(), "/readyz".into(), 200), 1)]),
            |counts| counts.load.failed = 1,
            |counts| counts.load.not_sent = 1,
        ];
        for (number, change) in cases.into_iter().enumerate() {
            let mut counts = counts();
            change(&mut counts);
            let (text, equal) = summary(&counts);
            assert!(!equal && text.ends_with("NOT equal"), "case {number}: {text}");
        }
    }

    #[test]
    fn nothing_counted_is_not_equal() {
        let latency_seconds = Latency::default();
        let load = Load { answered: 0, failed: 0, not_sent: 0, latency_seconds, routes: Vec::new() };
        let (wal_before, wal) = (Wal::default(), Wal::default());
        assert!(!summary(&Counts { kernel: Status::default(), wal_before, wal, api: Api::default(), load }).1);
    }

    #[test]
    fn what_was_lost_is_said() {
        let status = Status::parse(r#"{"lost":{"missed_completion":3,"recursion":0}}"#).unwrap();
        assert_eq!(lost(&status), "lost: 3 by missed_completion: block requests not counted: their end was never seen");
    }
}
