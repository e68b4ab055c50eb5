//! `cargo xtask build`: the object and the agent that carries it.

use anyhow::{Context as _, Result};

use crate::cross::{self, Arch};
use crate::{ebpf, shell};

/// Where the agent is, from the top folder.
pub(crate) const AGENT: &str = "target/release/stemedb-probe";
/// Where the workload of the demo and the tests is, from the top folder.
pub(crate) const WORKLOAD: &str = "target/release/stemedb-workload";
/// Where the reference node is, from the top folder.
pub(crate) const NODE: &str = "target/release/stemedb-node";
/// Where its load is, from the top folder.
pub(crate) const LOAD: &str = "target/release/stemedb-load";
/// Where the stack is, from the top folder.
pub(crate) const STACK: &str = "target/release/stemedb-stack";
/// Where the bench is, from the top folder.
pub(crate) const BENCH: &str = "target/release/stemedb-bench";
/// Where the first process of a guest is, from the top folder.
pub(crate) const VM_INIT: &str = "target/release/stemedb-vm-init";

/// Builds the object and the agent for an architecture.
pub(crate) fn agent_for(arch: Arch) -> Result<()> {
    if arch == Arch::HOST {
        return agent();
    }
    println!("built {}", cross::agent(arch, "release")?);
    Ok(())
}

/// Builds the object and the agent.
pub(crate) fn agent() -> Result<()> {
    ebpf::build(Arch::HOST)?;
    release("stemedb-probe")?;
    println!("built {AGENT}");
    Ok(())
}

/// Builds the workload.
pub(crate) fn workload() -> Result<()> {
    release("stemedb-workload")
}

/// Builds the reference node and its load.
pub(crate) fn node() -> Result<()> {
    release("stemedb-node")
}

/// Builds the stack.
pub(crate) fn stack() -> Result<()> {
    release("stemedb-stack")
}

/// Builds the bench.
pub(crate) fn bench() -> Result<()> {
    release("stemedb-bench")
}

/// Builds the first process of a guest.
pub(crate) fn vm_init() -> Result<()> {
    release("stemedb-vm-init")
}

fn release(package: &str) -> Result<()> {
    // Named, so that the binary is where this program looks whatever the user's cargo is configured to.
    let mut cargo = shell::cargo();
    cargo.args(["build", "--release", "--target-dir", "target", "-p", package]);
    shell::run(&mut cargo).with_context(|| format!("{package} does not build"))
}
