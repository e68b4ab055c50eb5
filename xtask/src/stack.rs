//! `cargo xtask stack`: nodes under load, the agent, Prometheus and Alertmanager on loopback.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::{build, setup, shell};

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
