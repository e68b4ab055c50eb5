//! `cargo xtask btf-fixture`: records the type information of a kernel for the tests.

use std::path::{Path, absolute};

use anyhow::{Context as _, Result};

use crate::cross::Arch;
use crate::{ebpf, shell};

/// Reduces a file of type information to what the agent asks, as `tests/btf/fixtures/NAME.btf`.
pub(crate) fn record(file: &Path, name: &str) -> Result<()> {
    // The agent's own tables say what is asked, and the agent does not build without the object.
    ebpf::build(Arch::HOST)?;
    let file = absolute(file).with_context(|| file.display().to_string())?;
    let mut cargo = shell::cargo();
    cargo.args(["run", "--quiet", "-p", "stemedb-btf-tests", "--"]).arg(file).arg(name);
    shell::run(&mut cargo)
}
