//! What is known of one kernel: a column of the table, filled by events.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stemedb_vm_init::{Event, Outcome, Plan};

use crate::view;

/// How a test ended, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cell {
    /// It did.
    Ended(Outcome),
    /// The machine's end came before its own.
    Interrupted,
    /// It did not begin.
    NotReached,
    /// The agent cannot have the mode here.
    Impossible,
    /// It has run in the modes before this one, and would show nothing new.
    LeftOut,
}

impl Cell {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ended(Outcome::Passed) => "passed",
            Self::Ended(Outcome::Failed) => "FAILED",
            Self::Ended(Outcome::TimedOut) => "TIMED OUT",
            Self::Interrupted => "CRASHED",
            Self::NotReached => "not reached",
            Self::Impossible => "-",
            Self::LeftOut => "(as before)",
        }
    }

    /// Whether nothing is wrong.
    pub(crate) fn fine(self) -> bool {
        matches!(self, Self::Ended(Outcome::Passed) | Self::Impossible | Self::LeftOut)
    }
}

/// One kernel.
#[derive(Serialize, Deserialize)]
pub(crate) struct Column {
    /// As it was asked for.
    pub(crate) asked: String,
    /// The version of its package; `None` for the host's.
    pub(crate) version: Option<String>,
    /// Its own name of its version, once it has told.
    pub(crate) release: String,
    /// What the agent's doctor says.
    pub(crate) doctor: Value,
    /// For each mode, why the agent cannot have it.
    pub(crate) problems: Vec<Option<String>>,
    /// For each mode, its tests.
    pub(crate) cells: Vec<Vec<Cell>>,
    /// Names of the tests.
    pub(crate) tests: Vec<String>,
    /// Why the run has ended before its end.
    pub(crate) broken: Option<String>,
    /// What tests that are to tell have said, by mode.
    #[serde(skip)]
    pub(crate) told: Vec<(usize, String)>,
    /// Faults that the kernel has told of.
    pub(crate) complaints: Vec<String>,
    /// The test that runs.
    current: Option<(usize, usize)>,
    /// Modes that were possible so far.
    possible: usize,
}

impl Column {
    /// Nothing is known yet.
    pub(crate) fn new(asked: &str, version: Option<String>, plan: &Plan) -> Self {
        Self {
            asked: asked.to_owned(),
            version,
            release: String::new(),
            doctor: Value::Null,
            problems: vec![None; plan.modes.len()],
            cells: vec![vec![Cell::NotReached; plan.tests.len()]; plan.modes.len()],
            tests: plan.tests.iter().map(|test| format!("{}::{}", test.suite, test.name)).collect(),
            broken: None,
            told: Vec::new(),
            complaints: Vec::new(),
            current: None,
            possible: 0,
        }
    }

    /// Notes what has happened, and shows it; `elapsed` is the time since the start.
    pub(crate) fn take(&mut self, plan: &Plan, event: Event, elapsed: Duration) {
        let at = format!("{:>4} s  {:<5}", elapsed.as_secs(), self.asked);
        match event {
            Event::Ready { release, doctor } => {
                println!("{at} {release} is up");
                self.release = release;
                self.doctor = doctor;
            }
            Event::Mode { mode, problem } => {
                println!("{at} mode {}: {}", name(plan, mode), problem.as_deref().unwrap_or("possible"));
                if let Some(cells) = self.cells.get_mut(mode) {
                    if problem.is_some() {
                        cells.fill(Cell::Impossible);
                    } else {
                        let cells = cells.iter_mut().zip(&plan.tests);
                        let left_out = cells.filter(|(_, test)| !test.runs_after(self.possible));
                        left_out.for_each(|(cell, _)| *cell = Cell::LeftOut);
                        self.possible += 1;
                    }
                }
                if let Some(place) = self.problems.get_mut(mode) {
                    *place = problem;
                }
            }
            Event::Begin { mode, test } => {
                self.current = Some((mode, test));
                self.set(Cell::Interrupted);
            }
            Event::End { outcome, took, output } => {
                let cell = Cell::Ended(outcome);
                let (mode, test) = self.current.unwrap_or_default();
                let row = self.tests.get(test).map_or("", String::as_str);
                let count = format!("{}/{}", test + 1, self.tests.len());
                let took = view::seconds(took.as_secs_f64());
                println!("{at} {:<14} {count:>6}  {row}  {}  {took}", name(plan, mode), cell.word());
                if cell.fine() {
                    self.told.extend((!output.is_empty()).then_some((mode, output)));
                } else {
                    output.lines().for_each(|line| println!("    {line}"));
                }
                self.set(cell);
                self.current = None;
            }
            Event::Done | Event::Broken { .. } => {}
        }
    }

    /// Whether it has begun with the tests.
    pub(crate) fn is_up(&self) -> bool {
        !self.release.is_empty()
    }

    /// Takes in what was found in a guest that has run some of the tests.
    pub(crate) fn join(&mut self, part: Column) {
        for (number, test) in part.tests.iter().enumerate() {
            let Some(place) = self.tests.iter().position(|other| other == test) else { continue };
            for (all, cells) in self.cells.iter_mut().zip(&part.cells) {
                all[place] = cells[number];
            }
        }
        if part.is_up() {
            (self.release, self.doctor, self.problems) = (part.release, part.doctor, part.problems);
        }
        self.broken =
            [self.broken.take(), part.broken].into_iter().flatten().reduce(|all, one| format!("{all}; {one}"));
        self.complaints.extend(part.complaints);
    }

    fn set(&mut self, cell: Cell) {
        let place = self.current.and_then(|(mode, test)| self.cells.get_mut(mode)?.get_mut(test));
        if let Some(place) = place {
            *place = cell;
        }
    }

    /// Notes that the run did not come to its end.
    pub(crate) fn fail(&mut self, plan: &Plan, problem: &str) {
        let during = self.current.map(|(mode, test)| {
            format!(", during {} in mode {}", self.tests.get(test).map_or("", String::as_str), name(plan, mode))
        });
        let problem = format!("{problem}{}", during.unwrap_or_default());
        println!("{}: {problem}", self.asked);
        self.broken = Some(problem);
    }

    /// Whether every test that can run here has passed.
    pub(crate) fn fine(&self) -> bool {
        self.broken.is_none() && self.complaints.is_empty() && self.cells.iter().flatten().all(|cell| cell.fine())
    }
}

/// A mode as people call it.
pub(crate) fn name(plan: &Plan, mode: usize) -> &str {
    plan.modes.get(mode).and_then(Option::as_deref).unwrap_or(super::AUTO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stemedb_vm_init::Test;

    fn plan() -> Plan {
        let test = |name: &str| Test::function("s", name, "/s".into(), 2);
        Plan {
            binaries: "/b".into(),
            scale: 1,
            limit: Duration::from_secs(1),
            modes: vec![Some("fentry".into()), None],
            tests: vec![test("one"), test("two")],
        }
    }

    fn take(column: &mut Column, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| column.take(&plan(), event, Duration::ZERO));
    }

    fn end(outcome: Outcome) -> Event {
        Event::End { outcome, took: Duration::ZERO, output: String::new() }
    }

    #[test]
    fn a_column_is_fine_when_all_that_can_run_has_passed() {
        let mut column = Column::new("6.1", None, &plan());
        take(&mut column, [Event::Mode { mode: 0, problem: Some("refused".into()) }]);
        take(&mut column, [Event::Mode { mode: 1, problem: None }]);
        take(&mut column, [Event::Begin { mode: 1, test: 0 }, end(Outcome::Passed)]);
        assert_eq!(column.cells[0], [Cell::Impossible; 2]);
        assert_eq!(column.cells[1], [Cell::Ended(Outcome::Passed), Cell::NotReached]);
        assert!(!column.fine(), "one was not reached");
        take(&mut column, [Event::Begin { mode: 1, test: 1 }, end(Outcome::Passed)]);
        assert!(column.fine());
        column.complaints.push("BUG:".into());
        assert!(!column.fine());
    }

    #[test]
    fn tests_of_fewer_modes_run_in_the_first_that_are_possible() {
        let (mut plan, possible) = (plan(), |mode| Event::Mode { mode, problem: None });
        plan.tests[0].modes = 1;
        let mut column = Column::new("6.1", None, &plan);
        column.take(&plan, possible(0), Duration::ZERO);
        column.take(&plan, possible(1), Duration::ZERO);
        assert_eq!(column.cells, [[Cell::NotReached; 2], [Cell::LeftOut, Cell::NotReached]]);
        let mut column = Column::new("6.1", None, &plan);
        column.take(&plan, Event::Mode { mode: 0, problem: Some("refused".into()) }, Duration::ZERO);
        column.take(&plan, possible(1), Duration::ZERO);
        assert_eq!(column.cells, [[Cell::Impossible; 2], [Cell::NotReached; 2]]);
    }

    #[test]
    fn parts_make_a_whole() {
        let mut whole = Column::new("6.1", None, &plan());
        for (guest, outcome) in [(0, Outcome::Passed), (1, Outcome::Failed)] {
            let share = Plan { tests: vec![plan().tests[guest].clone()], ..plan() };
            let mut part = Column::new("6.1", None, &share);
            let ready = Event::Ready { release: "6.1.0".into(), doctor: Value::Null };
            take(&mut part, [ready, Event::Begin { mode: 1, test: 0 }, end(outcome)]);
            part.fail(&share, "gone");
            whole.join(part);
        }
        assert_eq!(whole.cells[1], [Cell::Ended(Outcome::Passed), Cell::Ended(Outcome::Failed)]);
        assert_eq!(whole.cells[0], [Cell::NotReached; 2]);
        assert_eq!((whole.release.as_str(), whole.broken.as_deref()), ("6.1.0", Some("gone; gone")));
    }

    #[test]
    fn a_machine_that_dies_takes_its_test_with_it() {
        let mut column = Column::new("6.1", None, &plan());
        take(&mut column, [Event::Begin { mode: 0, test: 1 }]);
        column.fail(&plan(), "a panic");
        assert_eq!(column.cells[0], [Cell::NotReached, Cell::Interrupted]);
        assert_eq!(column.broken.as_deref(), Some("a panic, during s::two in mode fentry"));
        assert!(!column.fine());
    }
}
