//! What the process may do, and how to be allowed to.

use caps::{CapSet, Capability};

/// Capabilities that loading and attaching need, and what for (capabilities(7)).
pub const NEEDED: &[(Capability, &str)] = &[
    (Capability::CAP_BPF, "load eBPF programs and maps"),
    (Capability::CAP_PERFMON, "attach them to kernel tracepoints and read kernel memory in them"),
    (Capability::CAP_SYS_PTRACE, "read /proc/PID/root and /proc/PID/fd of the database"),
    (Capability::CAP_DAC_READ_SEARCH, "look into the database's directories"),
];

/// The capabilities of [`NEEDED`] that this process lacks; CAP_SYS_ADMIN stands for the first two.
#[must_use]
pub fn missing() -> Vec<(Capability, &'static str)> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let admin = has(Capability::CAP_SYS_ADMIN);
    let covered =
        |capability| has(capability) || (admin && matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON));
    NEEDED.iter().filter(|(capability, _)| !covered(*capability)).copied().collect()
}

/// What to say when some are missing.
#[must_use]
pub fn advice(missing: &[(Capability, &str)]) -> String {
    let list: Vec<String> = missing.iter().map(|(capability, what)| format!("{capability} (to {what})")).collect();
    let names: Vec<String> = NEEDED.iter().map(|(capability, _)| capability.to_string().to_lowercase()).collect();
    format!(
        "missing {}: run it as root, for example with sudo, or grant the capabilities: sudo setcap {}+ep {}",
        list.join(", "),
        names.join(","),
        std::env::current_exe().map_or_else(|_| "stemedb-probe".to_owned(), |path| path.display().to_string())
    )
}
