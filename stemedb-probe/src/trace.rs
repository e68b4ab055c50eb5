//! `trace`: one line for each slow sync call as it ends, then a summary.

mod lines;
mod summary;

use std::cell::RefCell;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Context;
use stemedb_ebpf::Lost;

use crate::agent::{self, Agent};
use crate::config::{Config, ConfigError};
use crate::kernel::privileges;
use crate::slow::Call;
use summary::Summary;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// One JSON object a line.
    pub json: bool,
    /// Ends after so many calls.
    pub count: Option<u64>,
    /// Ends after so long.
    pub seconds: Option<Duration>,
    /// Calls that took less are not printed.
    pub slower_than: Duration,
}

/// Lines between two headers where the height of the screen is not known.
const SCREEN: usize = 40;

/// A time of the command line: a number with its unit, or 0.
pub fn parse_time(text: &str) -> Result<Duration, ConfigError> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "" if number.parse() == Ok(0.0) => 1.0,
        _ => {
            return Err(ConfigError(format!(
                "{text:?} is not a time: write a number with ns, us, ms or s, as in 10ms"
            )));
        }
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * factor);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| ConfigError(format!("{text:?} is not a time: the number is not one")))
}

/// Traces until what was asked for is done, or SIGTERM, SIGINT or SIGHUP.
pub fn run_until_signal(config: Config, options: Options) -> anyhow::Result<()> {
    crate::until_signal(|shutdown| run(config, options, shutdown))
}

async fn run(config: Config, options: Options, shutdown: crate::Shutdown) -> anyhow::Result<()> {
    let missing = privileges::missing();
    anyhow::ensure!(missing.is_empty(), "{}", privileges::advice(&missing));
    let agent = Agent::start(config)?;
    log::info!("tracing sync calls of {} and more; Ctrl-C ends it", lines::time_of(options.slower_than));
    let output = RefCell::new(Output::new(options));
    let end = async {
        match options.seconds {
            Some(seconds) => tokio::select! { () = shutdown => {}, () = tokio::time::sleep(seconds) => {} },
            None => shutdown.await,
        }
    };
    let agent = agent::trace(agent, end, |call| output.borrow_mut().take(call)).await?;
    let agent = agent.borrow();
    output.into_inner().finish(&agent)
}

struct Output {
    options: Options,
    out: BufWriter<io::Stdout>,
    rows: usize,
    since_header: usize,
    summary: Summary,
    /// What went wrong with the output.
    error: Option<io::Error>,
}

impl Output {
    fn new(options: Options) -> Self {
        // The lines, the header itself, and the line where the cursor is.
        let rows = terminal_size::terminal_size().map_or(SCREEN, |(_, rows)| usize::from(rows.0).saturating_sub(2));
        let out = BufWriter::with_capacity(64 * 1024, io::stdout());
        Self { options, out, rows: rows.max(4), since_header: 0, summary: Summary::default(), error: None }
    }

    /// Prints a call; none, when there is no other at the moment.
    fn take(&mut self, call: Option<Call>) -> ControlFlow<()> {
        let done = match &call {
            Some(call) => self.print(call),
            None => self.out.flush(),
        };
        if let Err(error) = done {
            self.error = Some(error);
            return ControlFlow::Break(());
        }
        if let Some(call) = call {
            self.summary.add(&call);
        }
        if self.options.count.is_some_and(|count| self.summary.calls() >= count) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn print(&mut self, call: &Call) -> io::Result<()> {
        if self.options.json {
            serde_json::to_writer(&mut self.out, call)?;
            return self.out.write_all(b"\n");
        }
        if self.since_header == 0 {
            writeln!(self.out, "{}", lines::header())?;
        }
        self.since_header = (self.since_header + 1) % self.rows;
        writeln!(self.out, "{}", lines::line(call))
    }

    fn finish(mut self, agent: &Agent) -> anyhow::Result<()> {
        let dropped = agent.lost(Lost::SlowFull)?;
        if let Some(error) = self.error.take() {
            // A reader that has seen enough (`| head`) is no error.
            return if error.kind() == io::ErrorKind::BrokenPipe {
                Ok(())
            } else {
                Err(error).context("cannot write to standard output")
            };
        }
        if !self.options.json {
            let all = agent.sync_calls()?;
            let text = self.summary.text(all, self.options.slower_than, dropped);
            // The `^C` that a terminal shows is on a line of its own.
            let first = if io::stdout().is_terminal() { "\n" } else { "" };
            write!(self.out, "{first}{text}").context("cannot write to standard output")?;
        } else if dropped != 0 {
            eprintln!("stemedb-probe: {dropped} calls are not here: they came faster than they could be written");
        }
        self.out.flush().context("cannot write to standard output")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let ns = |text| parse_time(text).map(|time| time.as_nanos());
        assert_eq!(
            [ns("10ms"), ns("1.5us"), ns("0"), ns("2s"), ns("7ns")],
            [10_000_000, 1_500, 0, 2_000_000_000, 7].map(Ok)
        );
        for wrong in ["10", "ms", "-1ms", "1h", "", "1.2.3ms"] {
            assert!(parse_time(wrong).unwrap_err().0.contains("not a time"), "{wrong}");
        }
    }
}
