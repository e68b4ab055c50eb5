//! What `cargo xtask vm-test` and the machine that it starts tell each other: a plan goes in as a file, events come out
//! as lines.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a line with an event begins with; other lines are the kernel's or a program's own.
const MARK: &str = "@vm ";

/// What is to be run: each test in each mode, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where the agent and the workload are.
    pub binaries: PathBuf,
    /// Divisor of the tests' loads.
    pub scale: u64,
    /// What one test may take.
    pub limit: Duration,
    /// Hook modes.
    pub modes: Vec<Mode>,
    /// Tests.
    pub tests: Vec<Test>,
}

/// A way to hook that the agent is asked for; `None` leaves the choice to it.
pub type Mode = Option<String>;

/// A test function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// The test program's name.
    pub suite: String,
    /// The function's name.
    pub name: String,
    /// Where the test program is.
    pub program: PathBuf,
    /// In how many modes it runs: the first that are possible.
    pub modes: usize,
    /// What the program is started with.
    pub arguments: Vec<String>,
    /// What it says once it has done what it should: one that does nothing is no success.
    pub proof: String,
    /// Whether what it says is told also where it passes.
    pub tells: bool,
}

impl Test {
    /// A test function of a program that cargo has built.
    #[must_use]
    pub fn function(suite: &str, name: &str, program: PathBuf, modes: usize) -> Self {
        let arguments = ["--exact", name, "--test-threads=1", "--nocapture"].map(str::to_owned).to_vec();
        // A filter that matches nothing is a success for the test program.
        let proof = "1 passed".to_owned();
        Self { suite: suite.to_owned(), name: name.to_owned(), program, modes, arguments, proof, tells: false }
    }

    /// Whether it runs in a mode that is possible, after `before` others that were.
    #[must_use]
    pub fn runs_after(&self, before: usize) -> bool {
        before < self.modes
    }
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// With a failure.
    Failed,
    /// Not within its limit.
    TimedOut,
}

/// What happened. Modes and tests are told by their place in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The tests can begin.
    Ready {
        /// The kernel's release.
        release: String,
        /// What `stemedb-probe doctor --json` says.
        doctor: Value,
    },
    /// A mode begins; with a problem it is over, because the agent cannot have it here.
    Mode {
        /// Which one.
        mode: usize,
        /// Why not.
        problem: Option<String>,
    },
    /// A test begins.
    Begin {
        /// In this mode.
        mode: usize,
        /// Which one.
        test: usize,
    },
    /// The test that began last has ended.
    End {
        /// How.
        outcome: Outcome,
        /// It took so long.
        took: Duration,
        /// What it said, where it did not pass or is to tell.
        output: String,
    },
    /// The plan is done.
    Done,
    /// The plan cannot be carried out.
    Broken {
        /// Why.
        problem: String,
    },
}

impl Event {
    /// The event as a line without its end.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        Ok(format!("{MARK}{}", serde_json::to_string(self)?))
    }

    /// The event in a line; `None` where there is none. What a serial console puts around it does not matter.
    pub fn parse(line: &str) -> Option<Result<Self, serde_json::Error>> {
        let (_, event) = line.trim_end().split_once(MARK)?;
        Some(serde_json::from_str(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_the_console() {
        let event = Event::End {
            outcome: Outcome::Failed,
            took: Duration::from_millis(1234),
            output: "line\r\n@vm \"x\"".into(),
        };
        let line = event.line().unwrap();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(Event::parse(&format!("{line}\r\n")).unwrap().unwrap(), event);
        assert_eq!(Event::parse(&format!("\u{1b}[0m{line}")).unwrap().unwrap(), event);
    }

    #[test]
    fn other_lines_are_no_events_and_half_a_line_is_an_error() {
        assert!(Event::parse("[    1.0] EXT4-fs (nvme0n1): mounted").is_none());
        let line = Event::Done.line().unwrap();
        assert!(Event::parse(&line[..line.len() - 1]).unwrap().is_err());
    }
}
