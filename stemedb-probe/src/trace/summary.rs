//! What all the printed calls were together.

use std::collections::BTreeMap;
use std::time::Duration;

use stemedb_ebpf::phases::{PHASES, Parts};

use super::lines::{time, time_of};
use crate::slow::Call;

/// Calls of one operation on one class of one target.
#[derive(Debug, Default)]
struct Row {
    calls: u64,
    total_ns: u64,
    parts: Parts,
}

impl Row {
    fn add(&mut self, calls: u64, total_ns: u64, parts: &Parts) {
        self.calls += calls;
        self.total_ns += total_ns;
        for (sum, part) in self.parts.iter_mut().zip(parts) {
            *sum += part;
        }
    }

    fn text(&self, [target, class, op]: [&str; 3]) -> String {
        let mut out = format!("{target:<12} {class:<8} {op:<18} {:>9} {:>10}", self.calls, time(self.total_ns));
        for part in self.parts {
            out += &format!(" {:>8.1}%", part as f64 * 100.0 / self.total_ns.max(1) as f64);
        }
        out + "\n"
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Summary {
    rows: BTreeMap<(String, String, &'static str), Row>,
}

impl Summary {
    /// Adds a call.
    pub(super) fn add(&mut self, call: &Call) {
        let row = self.rows.entry((call.target.clone(), call.class.clone(), call.op)).or_default();
        row.add(1, call.total_ns, &call.parts);
    }

    /// How many there are.
    #[must_use]
    pub(super) fn calls(&self) -> u64 {
        self.rows.values().map(|row| row.calls).sum()
    }

    /// The table. `all` is how many sync calls there were, slow or not.
    #[must_use]
    pub(super) fn text(&self, all: u64, slower_than: Duration, dropped: u64) -> String {
        let slower_than = time_of(slower_than);
        let mut out = format!("{} of {all} sync calls took {slower_than} or more", self.calls() + dropped);
        out += &match dropped {
            0 => "\n".to_owned(),
            n => format!("; {n} of these are not here: they came faster than they could be written\n"),
        };
        if self.rows.is_empty() {
            return out;
        }
        out += &format!("{:<12} {:<8} {:<18} {:>9} {:>10}", "TARGET", "CLASS", "OP", "CALLS", "TOTAL");
        for phase in PHASES {
            out += &format!(" {:>9}", phase.to_uppercase());
        }
        out.push('\n');
        let mut all = Row::default();
        for ((target, class, op), row) in &self.rows {
            out += &row.text([target, class, op]);
            all.add(row.calls, row.total_ns, &row.parts);
        }
        if self.rows.len() > 1 {
            out += &all.text(["all", "", ""]);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_rows_total() {
        let mut summary = Summary::default();
        assert_eq!(summary.text(5, Duration::from_millis(10), 0), "0 of 5 sync calls took 10.0 ms or more\n");
        let row = summary.rows.entry(("db".to_owned(), "wal".to_owned(), "fsync")).or_default();
        row.add(2, 200, &[50, 0, 0, 150, 0, 0, 0]);
        let text = summary.text(9, Duration::ZERO, 3);
        assert!(text.starts_with("5 of 9 sync calls took 0 ns or more; 3 of these are not here"), "{text}");
        assert!(
            text.contains("RUNQUEUE") && text.contains("25.0%") && text.contains("75.0%") && !text.contains("\nall"),
            "{text}"
        );
    }
}
