//! `cargo xtask stack`: nodes under load, the agent, Prometheus and Alertmanager on loopback; `cargo xtask live-test`: real faults in it.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::{build, setup, shell, test};

/// Sets up what is missing, builds all, and runs the stack with these arguments until it is told to end.
pub(crate) fn command(arguments: &[OsString]) -> Result<ExitCode> {
    setup::command(setup::Options { tests: true, quiet: true, ..setup::Options::default() })?;
    build::agent()?;
    build::node()?;
    build::stack()?;
    // The agent runs as root, and so does whoever starts and stops it.
    let status = shell::privileged(shell::root().join(build::STACK))?.args(arguments).status();
    let status = status.context("cannot run the stack")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The pictures of the boards that are kept.
const PICTURES: &str = "docs/boards";

/// Arguments of `cargo xtask live-test`.
#[derive(clap::Args)]
#[command(about = "Real faults in the stack at production pace, and ten minutes without any: takes an hour")]
pub(crate) struct LiveTest {
    /// Ten times as fast, as in `cargo xtask test`: takes five minutes
    #[arg(long)]
    fast: bool,
    /// How long nothing may fire before the first fault [default: 10; 3 with --fast, of which each takes 6 s]
    #[arg(long, value_name = "MINUTES")]
    clean: Option<u16>,
    /// Keep the pictures of the boards in docs/boards
    #[arg(long)]
    pictures: bool,
}

/// Sets up what is missing, builds all, and runs the test.
pub(crate) fn live_test(options: &LiveTest) -> Result<ExitCode> {
    setup::command(setup::Options { tests: true, quiet: true, ..setup::Options::default() })?;
    build::agent()?;
    build::node()?;
    let mut test = test::live(if options.fast { test::FAST } else { "at_production_pace" });
    if options.pictures {
        test.env("STEMEDB_PICTURES", shell::root().join(PICTURES));
    }
    if let Some(minutes) = options.clean {
        test.env("STEMEDB_CLEAN_MINUTES", minutes.to_string());
    }
    shell::run(&mut test)?;
    Ok(ExitCode::SUCCESS)
}
