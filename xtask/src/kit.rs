//! `cargo xtask kit`: what is generated in deploy/, from the catalogues.

use std::process::ExitCode;

use anyhow::Result;

use crate::cross::Arch;
use crate::{ebpf, shell};

/// Writes the files, or with `check` compares them.
pub(crate) fn command(check: bool) -> Result<ExitCode> {
    // The agent's catalogue says what there is, and the agent does not build without the object.
    ebpf::build(Arch::HOST)?;
    let mut cargo = shell::cargo();
    cargo.args(["run", "--quiet", "-p", "stemedb-kit", "--", "deploy"]);
    if check {
        cargo.arg("--check");
    }
    shell::run(&mut cargo).map(|()| ExitCode::SUCCESS)
}
