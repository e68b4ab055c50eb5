//! The page, and the same for programs.

use serde::Serialize;
use stemedb_probe::kernel::CAPABILITIES;

use crate::beside::Beside;
use crate::events::Costs;
use crate::loads::Load;
use crate::tools::{BIOLATENCY, FSYNC_BY_SYSCALL, WRITES_BY_PROCESS};
use crate::{agent, growth, workloads};

/// Everything that was measured.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    pub(crate) kernel: String,
    pub(crate) hooks: String,
    pub(crate) events: Vec<Costs>,
    pub(crate) workloads: Vec<workloads::Row>,
    pub(crate) growth: Vec<growth::Row>,
    pub(crate) agent: Vec<agent::Row>,
    pub(crate) busy: agent::Busy,
}

/// A program's name, of which the kernel keeps 15 bytes.
pub(crate) fn full_name(name: &str) -> String {
    const KEPT: usize = 15;
    let mut programs = CAPABILITIES.iter().flat_map(|capability| capability.hooks).flat_map(|hook| hook.programs);
    let known =
        programs.find(|known| name.len() == KEPT && known.program.len() > KEPT && known.program.starts_with(name));
    known.map_or(name, |known| known.program).to_owned()
}

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    format!(
        "# Overhead\n\nWritten by `cargo xtask bench`, with `overhead.json` beside it; do not edit. Absolute times are those of one machine \
         and mean little on another; the ratios are of one run. How to read it, and what was tried: [ADR 0010](adr/0010-overhead.md).\n\n\
         Linux {}, system calls by `{}`.\n\n## Against the goals\n{}\nWhat stands in the way of those that do not hold is measured, and said in \
         [ADR 0010](adr/0010-overhead.md#tried-and-what-stands-in-the-way); [instructions.md](instructions.md) has the figures of fentry, without noise.\n\n## What programs cost\n\nBy the kernel's own statistics \
         (`kernel.bpf_stats_enabled`), which add some forty nanoseconds to each run themselves: an empty program shows them, and \
         the *floor* is such a one on each of the agent's hooks. Programs with less than one run for a thousand calls are left \
         out of the last column.\n{}\n## What whole workloads lose\n\nWithout the statistics. Each row is compared with the first of the same \
         round; `added ns` is what one call takes longer.\n{}\n## Growth\n\nAll programs for a buffered write of 512 bytes to a tmpfs, by the kernel's \
         own statistics.\n{}\n## The agent itself\n{}",
        report.kernel,
        report.hooks,
        goals(report),
        events(&report.events),
        workloads(&report.workloads),
        grown(&report.growth),
        agents(&report.agent, &report.busy),
    )
}

/// What a load cost beside something.
fn costs<'c>(all: &'c [Costs], load: Load, beside: &str) -> Option<&'c Costs> {
    all.iter().find(|costs| costs.load == load.name() && costs.beside == beside)
}

/// What is aimed at, and what was measured.
fn goals(report: &Report) -> String {
    let [watching, elsewhere, floor] = [Beside::Watching, Beside::Elsewhere, Beside::Floor].map(Beside::name);
    let cost = |load, beside| costs(&report.events, load, beside).map(|costs| costs.ns);
    let of_block = |beside| {
        let programs = costs(&report.events, Load::Direct, beside)?.programs.iter();
        Some(programs.filter(|one| one.program.starts_with("block_")).map(|one| one.ns * one.runs).sum::<f64>())
    };
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let of = |load, beside| ratio(cost(load, watching), cost(load, beside));
    let percent = report.workloads.iter().find(|row| row.load == Load::WalOnDisk.name() && row.beside == watching);
    let ten = report.agent.iter().find(|row| row.targets == 10);
    let thousand = report.agent.iter().min_by_key(|row| row.series.abs_diff(1_000));
    let rows: Vec<(&str, Option<f64>, f64)> = vec![
        ("programs for a watched write, of the floor", of(Load::Writes, floor), 1.5),
        ("the same, of bpftrace's", of(Load::Writes, WRITES_BY_PROCESS), 0.5),
        ("programs for a watched sync, of the floor", of(Load::Syncs, floor), 1.5),
        ("the same, of bpftrace's", of(Load::Syncs, FSYNC_BY_SYSCALL), 0.5),
        ("programs for a block request, of biolatency's", ratio(of_block(watching), of_block(BIOLATENCY)), 0.6),
        (
            "programs for calls of what is not watched, of the floor",
            ratio(cost(Load::Calls, elsewhere), cost(Load::Calls, floor)),
            1.0,
        ),
        ("WAL loop on a disk, lost percent", percent.map(|row| 100.0 - row.percent), 1.0),
        ("resident memory with 10 targets, MB", ten.map(|row| row.resident_kb / 1024.0), 12.0),
        ("from the start to the first scrape, s", ten.map(|row| row.start_seconds), 0.5),
        (
            "a scrape within the agent for a thousand series, ms",
            thousand.map(|row| row.scrape_seconds * 1e6 / row.series as f64),
            1.0,
        ),
        ("idle, percent of a processor", ten.map(|row| row.idle * 100.0), 0.1),
    ];
    let mut out = String::from("\n| | goal | measured | |\n|---|---|---|---|\n");
    for (what, measured, goal) in rows {
        let Some(measured) = measured else { continue };
        let holds = if measured <= goal { "holds" } else { "does not hold" };
        out += &format!("| {what} | {goal} | {measured:.2} | {holds} |\n");
    }
    out
}

/// What single programs cost.
pub(crate) fn events(all: &[Costs]) -> String {
    let mut out = String::new();
    for load in all.chunk_by(|one, next| one.load == next.load) {
        out += &format!(
            "\n### {}\n\n| beside | ns a {} | of the floor | programs: ns a run (runs) |\n|---|---|---|---|\n",
            load[0].load, load[0].unit
        );
        let floor = load.iter().find(|costs| costs.beside == Beside::Floor.name());
        for costs in load.iter().filter(|costs| !costs.programs.is_empty()) {
            let ratio = floor.map_or_else(String::new, |floor| format!("{:.2}", costs.ns / floor.ns));
            let programs: Vec<String> =
                costs.programs.iter().map(|one| format!("`{}` {:.0} ({:.2})", one.program, one.ns, one.runs)).collect();
            out += &format!("| {} | {:.0} | {ratio} | {} |\n", costs.beside, costs.ns, programs.join(", "));
        }
    }
    out
}

/// What whole workloads lose.
pub(crate) fn workloads(all: &[workloads::Row]) -> String {
    let mut out = String::new();
    for load in all.chunk_by(|one, next| one.load == next.load) {
        out += &format!(
            "\n### {}\n\n| beside | {}s a second | range | of the first | added ns | p50 us | p99 us |\n|---|---|---|---|---|---|---|\n",
            load[0].load, load[0].unit
        );
        for row in load {
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
    }
    out
}

fn grown(all: &[growth::Row]) -> String {
    let mut out = String::from("\n| | ns a write | of the first |\n|---|---|---|\n");
    for row in all {
        out += &format!("| {} | {:.0} | {:.2} |\n", row.what, row.ns, row.of_first);
    }
    out
}

fn agents(all: &[agent::Row], busy: &agent::Busy) -> String {
    let mut out = String::from(
        "\n| targets | classes of each | start until all is attached, s | until the first scrape, s | resident, MB | series | bytes | scrape within the agent, ms | idle, % of a processor |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in all {
        out += &format!(
            "| {} | {} | {:.2} | {:.2} | {:.1} | {} | {} | {:.2} | {:.3} |\n",
            row.targets,
            row.classes,
            row.ready_seconds,
            row.start_seconds,
            row.resident_kb / 1024.0,
            row.series,
            row.bytes,
            row.scrape_seconds * 1e3,
            row.idle * 100.0
        );
    }
    out += &format!(
        "\nAt {:.0} watched calls a second the agent's process takes {:.3} % of a processor: the kernel side adds up by itself.\n",
        busy.calls_per_second,
        busy.processor * 100.0
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Cost;

    fn costs(beside: &'static str, ns: f64) -> Costs {
        let programs = vec![Cost { program: "sys_enter".to_owned(), runs: 1.0, ns }];
        Costs { load: Load::Writes.name(), unit: "write", beside, ns, programs }
    }

    #[test]
    fn names_that_the_kernel_has_cut_are_whole() {
        assert_eq!(full_name("block_rq_comple"), "block_rq_complete");
        assert_eq!(full_name("sys_enter_fdata"), "sys_enter_fdata");
        assert_eq!(full_name("sys_enter"), "sys_enter");
    }

    #[test]
    fn a_goal_holds_or_does_not() {
        let all = vec![
            costs(Beside::Floor.name(), 100.0),
            costs(Beside::Watching.name(), 300.0),
            costs(WRITES_BY_PROCESS, 900.0),
        ];
        let report = Report { kernel: String::new(), hooks: String::new(), events: all, ..Report::default() };
        let text = page(&report);
        assert!(text.contains("| programs for a watched write, of the floor | 1.5 | 3.00 | does not hold |"), "{text}");
        assert!(text.contains("| the same, of bpftrace's | 0.5 | 0.33 | holds |"), "{text}");
        assert!(text.contains("| the agent, which watches it | 300 | 3.00 | `sys_enter` 300 (1.00) |"), "{text}");
    }
}
