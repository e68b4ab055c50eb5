//! The same figures for a machine whose clock counts instructions (`cargo xtask instructions`): no noise, and no nanoseconds.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::Options;
use crate::beside::Bench;
use crate::events::{self, Cost};
use crate::meter::{self, Statistics};

/// What the line with the figures begins with.
const MARK: &str = "figures: ";

/// A load beside something. A nanosecond is an instruction.
#[derive(Serialize)]
struct Row {
    load: &'static str,
    unit: &'static str,
    beside: &'static str,
    /// A call of the load takes so many, without statistics.
    call: f64,
    /// All programs for a call take so many, the statistics included.
    all: f64,
    programs: Vec<Cost>,
}

/// Measures, and prints one line.
pub(crate) fn print(bench: &Bench, options: &Options, time: Duration) -> Result<()> {
    let mut rows = Vec::new();
    for beside in options.besides() {
        beside.with(bench, || {
            for load in options.loads() {
                let done = bench.places.run(load, time)?;
                let _statistics = Statistics::on()?;
                let before = meter::programs();
                let counted = bench.places.run(load, time)?;
                let (all, programs) = events::costs(meter::since(&bench.others, &before), counted.calls);
                let (load, unit, beside) = (load.name(), load.unit(), beside.name());
                rows.push(Row { load, unit, beside, call: 1e9 / done.per_second, all, programs });
            }
            Ok(())
        })?;
    }
    println!("{MARK}{}", serde_json::to_string(&rows)?);
    Ok(())
}
