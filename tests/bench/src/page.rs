//! The page.

use stemedb_probe::kernel::CAPABILITIES;

use crate::events::Costs;
use crate::workloads::Row;

/// A program's name, of which the kernel keeps 15 bytes.
pub(crate) fn full_name(name: &str) -> String {
    let programs = || CAPABILITIES.iter().flat_map(|capability| capability.hooks).flat_map(|hook| hook.programs);
    let known = programs().find(|program| program.program.len() > 15 && program.program.starts_with(name) && name.len() == 15);
    known.map_or(name, |program| program.program).to_owned()
}

/// What single programs cost.
pub(crate) fn events(all: &[Costs]) -> String {
    let mut out = String::new();
    let mut last = "";
    for costs in all {
        if costs.load != last {
            out += &format!("\n### {}\n\n| beside | ns a {} | of the floor | programs: ns a run (runs) |\n|---|---|---|---|\n", costs.load, costs.unit);
            last = costs.load;
        }
        let floor = all.iter().find(|other| other.load == costs.load && other.beside.starts_with("empty"));
        let ratio = floor.map_or_else(String::new, |floor| format!("{:.2}", costs.ns / floor.ns));
        let programs: Vec<String> =
            costs.programs.iter().map(|one| format!("`{}` {:.0} ({:.2})", one.program, one.ns, one.runs)).collect();
        out += &format!("| {} | {:.0} | {ratio} | {} |\n", costs.beside, costs.ns, programs.join(", "));
    }
    out
}

/// What whole workloads lose.
pub(crate) fn workloads(all: &[Row]) -> String {
    let mut out = String::new();
    let mut last = "";
    for row in all {
        if row.load != last {
            out += &format!(
                "\n### {}\n\n| beside | {}s a second | range | of the first | added ns | p50 us | p99 us |\n|---|---|---|---|---|---|---|\n",
                row.load, row.unit
            );
            last = row.load;
        }
        out += &format!(
            "| {} | {:.0} | {:.0} to {:.0} | {:.1} % | {:.0} | {:.1} | {:.1} |\n",
            row.beside,
            row.per_second,
            row.lowest,
            row.highest,
            row.percent,
            row.added_ns,
            row.p50_ns / 1e3,
            row.p99_ns / 1e3
        );
    }
    out
}
