//! `cargo xtask run`: the agent, built and run as root.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::{build, shell};

/// Builds the agent, then becomes it: its signals, its terminal and its exit status are its own.
pub(crate) fn agent(arguments: &[OsString]) -> Result<ExitCode> {
    build::agent()?;
    let mut command = shell::privileged(shell::root().join(build::AGENT))?;
    // File names among the arguments are relative to where the user is.
    command.args(arguments).current_dir(env::current_dir()?);
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", build::AGENT))
}
