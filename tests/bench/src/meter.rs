//! What the kernel keeps about every program that is loaded, whoever has loaded it: one meter for all tools.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use stemedb_probe::kernel::programs::figures;

/// By which the kernel keeps run counts and times of programs.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// What one program did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its name, of which the kernel keeps 15 bytes.
    pub(crate) name: String,
    /// Runs.
    pub(crate) runs: u64,
    /// Nanoseconds in them.
    pub(crate) ns: u64,
}

/// Programs by their ids.
pub(crate) type Programs = BTreeMap<u32, Program>;

/// Every program now. One that ends meanwhile is left out.
pub(crate) fn programs() -> Programs {
    let read = |info: aya::programs::ProgramInfo| {
        let name = info.name_as_str().unwrap_or("?").to_owned();
        let found = figures(&name, info.fd().ok()?.as_fd()).ok()?;
        Some((info.id(), Program { name, runs: found.runs, ns: found.run_ns }))
    };
    loaded_programs().flatten().filter_map(read).collect()
}

/// What those did since `before` that were not there in `others`.
pub(crate) fn since(others: &Programs, before: &Programs) -> Vec<Program> {
    let ours = programs().into_iter().filter(|(id, _)| !others.contains_key(id));
    let did = ours.map(|(id, now)| {
        let was = before.get(&id).cloned().unwrap_or_default();
        Program { name: now.name, runs: now.runs - was.runs, ns: now.ns - was.ns }
    });
    did.filter(|program| program.runs != 0).collect()
}

/// The kernel keeps figures of programs until this is dropped.
pub(crate) struct Statistics(String);

impl Statistics {
    pub(crate) fn on() -> Result<Self> {
        let before = fs::read_to_string(STATISTICS).with_context(|| STATISTICS.to_owned())?;
        fs::write(STATISTICS, "1")?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = fs::write(STATISTICS, self.0.trim());
    }
}
