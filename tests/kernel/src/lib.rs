//! What the kernel tests share: an agent and a load that are always stopped, file systems that are always unmounted, and
//! the comparison of what the kernel counted with what the load counted.

pub mod agent;
pub mod bpf;
pub mod compare;
pub mod databases;
pub mod exposition;
pub mod fio;
pub mod fs;
pub mod golden;
pub mod load;
pub mod outcome;
pub mod prometheus;
pub mod quantiles;
pub mod strace;
pub mod web;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A binary of this workspace, built for release.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/release").join(name);
    path.canonicalize().with_context(|| {
        format!("{} is not built: run `cargo xtask test`, or `cargo xtask build` once", path.display())
    })
}

/// Waits until `check` gives something.
pub fn wait_for<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = check() {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("{what} did not happen within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
