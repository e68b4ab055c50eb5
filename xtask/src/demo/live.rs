//! The live view of the demo: the API above, the kernel below, on one time axis.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Result;

use super::api;
use super::status::{Longest, Row};
use crate::view::{self, Screen, grouped, megabytes, rate, seconds};

/// Seconds in a sparkline.
const HISTORY: usize = 40;

/// What a second was like.
pub(crate) struct Second {
    /// Of the API, as the node tells.
    pub(crate) api: Vec<api::Row>,
    /// Of the files, as the kernel saw it.
    pub(crate) kernel: Vec<Row>,
    /// Where the time of the log's sync calls went.
    pub(crate) shares: Vec<(String, f64)>,
}

/// A view of each second; lines where nothing can be redrawn.
pub(crate) struct Live {
    head: Vec<String>,
    total: u64,
    redraws: bool,
    screen: Screen,
    /// The p99 of each of the last seconds, by what it is of.
    history: BTreeMap<String, VecDeque<Option<f64>>>,
}

impl Live {
    /// A view of `total` seconds, of a node and an agent at these addresses.
    pub(crate) fn new(node: &str, agent: &str, total: u64) -> Self {
        let head = vec![format!("metrics: of the node {node}"), format!("         of the kernel {agent}")];
        Self { head, total, redraws: Screen::redraws(), screen: Screen::default(), history: BTreeMap::new() }
    }

    /// Shows the last second.
    pub(crate) fn show(&mut self, second: &Second, elapsed: u64) -> Result<()> {
        for (name, p99) in p99s(second) {
            let seconds = self.history.entry(name).or_default();
            seconds.push_back(p99);
            if seconds.len() > HISTORY {
                seconds.pop_front();
            }
        }
        if !self.redraws {
            println!("{elapsed:>3} s  {}", compact(second));
            return Ok(());
        }
        let mut lines = vec![format!("The last second: {elapsed} of {} s", self.total)];
        lines.extend(self.head.clone());
        lines.push(String::new());
        lines.extend(tables(second, |name| self.sparkline(name)));
        Ok(self.screen.draw(&lines)?)
    }

    fn sparkline(&self, name: &str) -> String {
        let seconds: Vec<Option<f64>> = self.history.get(name).into_iter().flatten().copied().collect();
        view::sparkline(&seconds)
    }
}

/// The p99 of what is drawn: the API's requests that write, and the sync calls below them.
fn p99s(second: &Second) -> Vec<(String, Option<f64>)> {
    let api = second.api.iter().take(1).map(|row| (row.name.clone(), row.quantiles[1]));
    api.chain(second.kernel.iter().map(|row| (format!("{} fsync", row.class), row.quantiles[1]))).collect()
}

/// A latency, or none.
fn latency(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), seconds)
}

/// The cells of a class, without its name.
fn cells(row: &Row) -> [String; 8] {
    let [p50, p99, p999] = row.quantiles.map(latency);
    let longest = match row.longest {
        None => "-".into(),
        Some(Longest::Exactly(value)) => seconds(value),
        Some(Longest::AtMost(value)) => format!("≤{}", seconds(value)),
    };
    [
        rate(row.syncs_per_second),
        p50,
        p99,
        p999,
        longest,
        rate(row.writes_per_second),
        megabytes(row.bytes_per_second),
        grouped(row.errors),
    ]
}

/// The tables: the API, the kernel, where the time went, and a sparkline for each, which `history` gives.
fn tables(second: &Second, history: impl Fn(&str) -> String) -> Vec<String> {
    let api = |row: &api::Row| {
        let [p50, p99] = row.quantiles.map(latency);
        vec![row.name.clone(), rate(row.answers_per_second), p50, p99, rate(row.refused_per_second)]
    };
    let header = ["API", "answers/s", "p50", "p99", "refused/s"];
    let mut lines = view::table(&header, &second.api.iter().map(api).collect::<Vec<_>>(), 1);
    lines.push(String::new());
    let kernel = |row: &Row| [vec![row.class.clone()], cells(row).to_vec()].concat();
    let header = ["kernel", "fsyncs/s", "p50", "p99", "p99.9", "max", "writes/s", "MB/s", "errors"];
    lines.extend(view::table(&header, &second.kernel.iter().map(kernel).collect::<Vec<_>>(), 1));
    lines.push(String::new());
    lines.push(format!("wal fsync time: {}", shares(second)));
    lines.push(String::new());
    let histories: Vec<_> = p99s(second).into_iter().map(|(name, _)| vec![name.clone(), history(&name)]).collect();
    lines.extend(view::table(&["p99 of", "the last 40 s"], &histories, 2));
    lines
}

/// Where the time of the log's sync calls went.
fn shares(second: &Second) -> String {
    let share = |(phase, share): &(String, f64)| format!("{phase} {:.0} %", share * 100.0);
    let all: Vec<String> = second.shares.iter().filter(|(_, share)| *share >= 0.005).map(share).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

/// One line for where lines can't be redrawn.
fn compact(second: &Second) -> String {
    let api = second.api.iter().map(|row| {
        let [p50, p99] = row.quantiles.map(latency);
        format!("{}: {}/s p50 {p50} p99 {p99}", row.name, rate(row.answers_per_second))
    });
    let kernel = second.kernel.iter().map(|row| {
        let [syncs, p50, p99, ..] = cells(row);
        format!("{} fsync: {syncs}/s p50 {p50} p99 {p99}", row.class)
    });
    let shares = [format!("wal fsync time: {}", shares(second))];
    api.chain(kernel).chain(shares).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::status::Status;
    use crate::demo::status::tests::ANSWER;

    #[test]
    fn the_live_view_has_the_api_above_the_kernel() {
        let row = |name: &str, p99| api::Row {
            name: name.into(),
            answers_per_second: 148.0,
            refused_per_second: 2.0,
            quantiles: [Some(0.001), p99],
        };
        let second = Second {
            api: vec![row("POST /v1/vote", Some(0.0052)), row("all routes", None)],
            kernel: Status::parse(ANSWER).unwrap().since(&Status::default(), 1.0),
            shares: vec![("flush".into(), 0.75), ("cpu".into(), 0.249), ("other".into(), 0.001)],
        };
        let lines = tables(&second, |name| format!("▁▂ {name}"));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(lines[1].starts_with("POST /v1/vote") && lines[1].contains("5.20 ms"), "{lines:?}");
        assert!(lines[2].starts_with("all routes") && lines[2].contains("  -"), "{lines:?}");
        assert!(lines[5].starts_with("wal") && lines[5].contains("5.00 ms"), "{lines:?}");
        assert!(lines[6].starts_with("store") && lines[6].contains("  -"), "{lines:?}");
        assert!(lines.contains(&"wal fsync time: flush 75 %, cpu 25 %".to_owned()), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("POST /v1/vote  ▁▂ POST")), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("wal fsync      ▁▂ wal fsync")), "{lines:?}");
        let line = compact(&second);
        assert!(
            line.starts_with("POST /v1/vote: 148/s p50 1.00 ms p99 5.20 ms") && line.contains(" | store fsync"),
            "{line}"
        );
    }
}
