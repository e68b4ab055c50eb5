//! The table kernel x test: for the terminal, and as docs/kernels.md.

use serde_json::Value;

use super::column::{Cell, Column};
use crate::view;

/// Tests by kernel and mode.
pub(crate) fn terminal(columns: &[Column], modes: &[&str]) -> String {
    let (header, rows) = matrix(columns, modes, Cell::word);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut out = view::table(&header, &rows, header.len());
    out.extend(notes(columns, modes));
    out.join("\n")
}

/// The page: nothing in it changes from run to run unless a kernel, a hook or a result does.
pub(crate) fn page(columns: &[Column], modes: &[&str]) -> String {
    let mut out = String::from(
        "# Kernels\n\nWritten by `cargo xtask vm-test`; do not edit. Debian's kernels run under QEMU, their processors in \
         software; `host` is the kernel of the machine that ran the command.\n\n",
    );
    let kernel = |column: &Column| {
        vec![column.asked.clone(), release(column), column.version.clone().unwrap_or_else(|| "-".into())]
    };
    out += &markdown(&["kernel", "release", "Debian package"], &columns.iter().map(kernel).collect::<Vec<_>>());
    out += "\n## Hooks\n\nWhat the agent chooses by itself for each capability (`stemedb-probe doctor`).\n\n";
    let (header, rows) = hooks(columns);
    out += &markdown(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    out += "\n## Tests\n\nTest functions of `tests/kernel`, by kernel and by the hooks that the agent was told to use. `(as before)`: what it \
            tests is hooked alike in this mode and in those before. `-`: this kernel or machine cannot have it.\n\n";
    let (header, rows) = matrix(columns, modes, |cell| if cell.fine() { cell.word() } else { "**failed**" });
    out += &markdown(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    for note in notes(columns, modes) {
        out += &format!("\n- {note}");
    }
    out.trim_end().to_owned() + "\n"
}

/// The release; of the host's only the number, because the rest names the machine.
fn release(column: &Column) -> String {
    let number = |release: &str| release.split('-').next().unwrap_or_default().to_owned();
    if column.version.is_some() { column.release.clone() } else { number(&column.release) }
}

fn matrix(columns: &[Column], modes: &[&str], word: impl Fn(Cell) -> &'static str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut header = vec!["test".to_owned()];
    header.extend(columns.iter().flat_map(|column| modes.iter().map(move |mode| format!("{} {mode}", column.asked))));
    let mut names: Vec<&String> = Vec::new();
    for test in columns.iter().flat_map(|column| &column.tests) {
        if !names.contains(&test) {
            names.push(test);
        }
    }
    let row = |name: &&String| {
        let mut row = vec![(*name).clone()];
        for column in columns {
            let test = column.tests.iter().position(|test| test == *name);
            let cell = |cells: &Vec<Cell>| test.and_then(|test| cells.get(test)).map_or("-", |cell| word(*cell));
            row.extend(column.cells.iter().map(|cells| cell(cells).to_owned()));
        }
        row
    };
    (header, names.iter().map(row).collect())
}

fn hooks(columns: &[Column]) -> (Vec<String>, Vec<Vec<String>>) {
    let list = |column: &Column| column.doctor["capabilities"].as_array().cloned().unwrap_or_default();
    let name = |verdict: &Value| verdict["capability"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = Vec::new();
    for capability in columns.iter().flat_map(|column| list(column).iter().map(name).collect::<Vec<_>>()) {
        if !names.contains(&capability) {
            names.push(capability);
        }
    }
    let hook = |column: &Column, capability: &str| {
        let verdicts = list(column);
        let hook = verdicts.iter().find(|verdict| verdict["capability"] == capability).map(|verdict| &verdict["hook"]);
        hook.map_or("-", |hook| hook.as_str().unwrap_or("off")).to_owned()
    };
    let row = |capability: &String| {
        let mut row = vec![capability.clone()];
        row.extend(columns.iter().map(|column| hook(column, capability)));
        row
    };
    let mut header = vec!["capability".to_owned()];
    header.extend(columns.iter().map(|column| column.asked.clone()));
    (header, names.iter().map(row).collect())
}

/// Why something is missing.
fn notes(columns: &[Column], modes: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for column in columns {
        let problems = column.problems.iter().zip(modes).filter_map(|(problem, mode)| Some((problem.as_ref()?, mode)));
        out.extend(problems.map(|(problem, mode)| format!("{} {mode}: {}", column.asked, one_line(problem))));
        out.extend(column.broken.iter().map(|problem| format!("{}: {}", column.asked, one_line(problem))));
        out.extend(column.complaints.iter().map(|line| format!("{}: its kernel said: {line}", column.asked)));
    }
    out
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut out = line(header) + &line(&vec!["---"; header.len()]).replace(' ', "");
    for row in rows {
        out += &line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;
    use stemedb_vm_init::{Event, Outcome, Plan, Test};

    fn column(asked: &str, tests: &[&str]) -> Column {
        let test = |name: &&str| Test::function("s", name, "/s".into(), 1);
        let plan = Plan {
            binaries: "/b".into(),
            scale: 1,
            limit: Duration::from_secs(1),
            modes: vec![Some("fentry".into())],
            tests: tests.iter().map(test).collect(),
        };
        let mut column = Column::new(asked, (asked != "host").then(|| "1-2".into()), &plan);
        let doctor = json!({ "capabilities": [{ "capability": "fsync", "hook": "fentry" }, { "capability": "life", "hook": null }] });
        let end = |outcome| Event::End { outcome, took: Duration::ZERO, output: String::new() };
        for event in [
            Event::Ready { release: "6.1.0-9-x".into(), doctor },
            Event::Begin { mode: 0, test: 0 },
            end(Outcome::Failed),
        ] {
            column.take(&plan, event, Duration::ZERO);
        }
        column
    }

    #[test]
    fn the_page_has_a_row_for_each_test_and_a_reason_for_each_gap() {
        let mut host = column("host", &["one"]);
        host.problems[0] = Some("not\n permitted".into());
        let page = page(&[column("6.1", &["one", "two"]), host], &["fentry"]);
        for line in [
            "| 6.1 | 6.1.0-9-x | 1-2 |",
            "| host | 6.1.0 | - |",
            "| fsync | fentry | fentry |",
            "| life | off | off |",
            "| test | 6.1 fentry | host fentry |",
            "| s::one | **failed** | **failed** |",
            "| s::two | **failed** | - |",
            "- host fentry: not permitted",
        ] {
            assert!(page.lines().any(|other| other == line), "{line:?} is not in:\n{page}");
        }
    }
}
