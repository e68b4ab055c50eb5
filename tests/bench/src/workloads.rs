//! What whole workloads lose.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::Options;
use crate::beside::Bench;
use crate::loads::{Done, Load};

/// What one load did beside one thing.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) load: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) beside: &'static str,
    /// Medians of the rounds.
    pub(crate) per_second: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    pub(crate) p50_ns: f64,
    pub(crate) p99_ns: f64,
    /// What a call takes longer than beside nothing in the same round: the median of the rounds.
    pub(crate) added_ns: f64,
    /// Calls a second in percent of those beside nothing in the same round: the median of the rounds.
    pub(crate) percent: f64,
}

/// Runs every load beside everything.
pub(crate) fn measure(bench: &Bench, options: &Options, time: Duration) -> Result<Vec<Row>> {
    let besides = options.besides();
    let mut rounds: BTreeMap<(Load, usize), Vec<Done>> = BTreeMap::new();
    for round in 0..options.rounds as usize {
        for turn in 0..besides.len() {
            let which = (turn + round) % besides.len();
            besides[which].with(bench, || {
                for load in options.loads() {
                    rounds.entry((load, which)).or_default().push(bench.places.run(load, time)?);
                }
                Ok(())
            })?;
        }
        eprintln!("whole workloads: round {} of {}", round + 1, options.rounds);
    }
    let base = |load: Load| rounds.get(&(load, 0)).map_or(&[][..], Vec::as_slice);
    let row = |((load, which), all): (&(Load, usize), &Vec<Done>)| {
        let rates: Vec<f64> = all.iter().map(|done| done.per_second).collect();
        let pairs = || base(*load).iter().zip(all);
        Row {
            load: load.name(),
            unit: load.unit(),
            beside: besides[*which].name(),
            per_second: median(rates.iter().copied()),
            lowest: rates.iter().copied().fold(f64::MAX, f64::min),
            highest: rates.iter().copied().fold(0.0, f64::max),
            p50_ns: median(all.iter().map(|done| done.p50_ns)),
            p99_ns: median(all.iter().map(|done| done.p99_ns)),
            added_ns: median(pairs().map(|(without, with)| 1e9 / with.per_second - 1e9 / without.per_second)),
            percent: median(pairs().map(|(without, with)| with.per_second / without.per_second * 100.0)),
        }
    };
    Ok(rounds.iter().map(row).collect())
}

/// The one in the middle; 0 of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
