//! `cargo xtask bench`: builds what is measured and what measures it, and hands over; see `tests/bench`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::{build, setup, shell};

/// Sets up, builds, and runs the bench with its own arguments.
pub(crate) fn command(arguments: &[OsString]) -> Result<ExitCode> {
    setup::command(setup::Options { tests: true, bench: true, quiet: true, ..setup::Options::default() })?;
    build::agent()?;
    build::workload()?;
    build::bench()?;
    shell::run(shell::privileged(build::BENCH)?.current_dir(shell::root()).args(arguments))?;
    Ok(ExitCode::SUCCESS)
}
