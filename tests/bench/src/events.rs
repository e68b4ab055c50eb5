//! What single programs cost, as the kernel's own statistics tell.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::beside::{Bench, Beside};
use crate::loads::Load;
use crate::meter::{self, Statistics};
use crate::{Options, page};

/// Programs with less than one run for so many calls of a load are left out.
const RARE: f64 = 1000.0;

/// What one program costs.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Cost {
    pub(crate) program: String,
    /// Runs for one call of the load.
    pub(crate) runs: f64,
    /// Nanoseconds of a run.
    pub(crate) ns: f64,
}

/// What the programs of one tool cost.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Costs {
    pub(crate) load: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) beside: &'static str,
    /// Nanoseconds of all programs for one call of the load: the median of the rounds.
    pub(crate) ns: f64,
    pub(crate) programs: Vec<Cost>,
}

/// Nanoseconds of all programs for one call, and what each cost.
type Round = (f64, Vec<Cost>);

/// Runs every load beside everything.
pub(crate) fn measure(bench: &Bench, options: &Options, time: Duration) -> Result<Vec<Costs>> {
    let _statistics = Statistics::on()?;
    let besides: Vec<Beside> =
        options.besides().into_iter().filter(|beside| !matches!(beside, Beside::Nothing)).collect();
    let mut rounds: BTreeMap<(Load, usize), Vec<Round>> = BTreeMap::new();
    for round in 0..options.rounds as usize {
        for turn in 0..besides.len() {
            let which = (turn + round) % besides.len();
            besides[which].with(bench, || {
                for load in options.loads() {
                    let before = meter::programs();
                    let done = bench.places.run(load, time)?;
                    let costs = costs(meter::since(&bench.others, &before), done.calls);
                    rounds.entry((load, which)).or_default().push(costs);
                }
                Ok(())
            })?;
        }
        eprintln!("single programs: round {} of {}", round + 1, options.rounds);
    }
    let middle = |((load, which), mut all): ((Load, usize), Vec<Round>)| {
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ns, programs) = all.swap_remove(all.len() / 2);
        Costs { load: load.name(), unit: load.unit(), beside: besides[which].name(), ns, programs }
    };
    Ok(rounds.into_iter().map(middle).collect())
}

/// Programs that are attached to several functions have one name.
pub(crate) fn costs(programs: Vec<meter::Program>, calls: f64) -> Round {
    let mut by_name: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for program in programs {
        let (runs, ns) = by_name.entry(page::full_name(&program.name)).or_default();
        *runs += program.runs;
        *ns += program.ns;
    }
    let all = by_name.values().map(|(_, ns)| *ns as f64).sum::<f64>() / calls;
    let each = by_name.into_iter().filter(|(_, (runs, _))| *runs as f64 * RARE > calls);
    let each =
        each.map(|(program, (runs, ns))| Cost { program, runs: runs as f64 / calls, ns: ns as f64 / runs as f64 });
    (all, each.collect())
}
