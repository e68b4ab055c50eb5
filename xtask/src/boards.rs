//! Grafana's boards: the npm packages that check and draw them, and the check.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;

/// Where the packages are, and what uses them.
pub(crate) const FOLDER: &str = "tests/boards";
/// The versions of all of them.
const LOCK: &str = "package-lock.json";
/// Which versions have been installed.
const INSTALLED: &str = "node_modules/.installed";

fn folder() -> PathBuf {
    shell::root().join(FOLDER)
}

fn npm(arguments: &[&str]) -> Command {
    let mut npm = shell::command("npm");
    npm.current_dir(folder()).args(arguments);
    npm
}

/// Whether exactly the packages of the lock file are there.
pub(crate) fn is_set_up() -> bool {
    let lock = fs::read(folder().join(LOCK)).ok();
    lock.is_some() && lock == fs::read(folder().join(INSTALLED)).ok()
}

/// Installs exactly the packages of the lock file.
pub(crate) fn set_up() -> Result<()> {
    shell::run(&mut npm(&["ci", "--loglevel", "error"]))?;
    fs::copy(folder().join(LOCK), folder().join(INSTALLED)).context("cannot tell which packages are there")?;
    Ok(())
}

/// Checks the boards against Grafana's schema, and the types of what draws them.
pub(crate) fn check() -> Result<()> {
    shell::run(&mut npm(&["run", "--silent", "types"]))?;
    shell::run(&mut npm(&["test", "--silent"]))
}
