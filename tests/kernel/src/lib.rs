//! What the kernel tests share: an agent and a load that are always stopped, file systems that are always unmounted, and
//! the comparison of what the kernel counted with what the load counted.

pub mod agent;
pub mod block;
pub mod bpf;
pub mod compare;
pub mod databases;
pub mod disks;
pub mod exposition;
pub mod fio;
pub mod fs;
pub mod golden;
pub mod load;
pub mod netns;
pub mod outcome;
pub mod prometheus;
pub mod quantiles;
pub mod strace;
pub mod throttle;
pub mod trace;
pub mod tracefs;
pub mod web;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The folder with the binaries of this workspace, where they are not where cargo has built them.
const BINARIES: &str = "STEMEDB_BINARIES";
/// What the size of a load is divided by, for a machine that is that much slower: a processor in software, say.
const SCALE: &str = "STEMEDB_TEST_SCALE";

/// A load's size, of which the variable `STEMEDB_TEST_SCALE` leaves a part, though at least one. Only sizes are scaled:
/// what is asserted of them stays the same.
pub fn scaled(size: u64) -> u64 {
    let divisor = std::env::var(SCALE).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (size / std::cmp::max(divisor, 1)).max(1)
}

/// A binary of this workspace, built for release.
pub fn binary(name: &str) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(BINARIES) {
        let path = PathBuf::from(folder).join(name);
        return path.canonicalize().with_context(|| format!("{BINARIES}: no {}", path.display()));
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/release").join(name);
    path.canonicalize().with_context(|| {
        format!("{} is not built: run `cargo xtask test`, or `cargo xtask build` once", path.display())
    })
}

/// A name that nothing else has on this machine while this process runs.
pub fn own_name(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
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
