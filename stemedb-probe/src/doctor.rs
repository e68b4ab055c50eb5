//! `doctor`: what this kernel allows, which hook each capability would use, what is missing and how to get it.

use std::path::Path;

use serde_json::{Value, json};
use stemedb_ebpf::offsets::Need;

use crate::cli::print;
use crate::config::Config;
use crate::kernel::hooks::Verdict;
use crate::kernel::syscalls::Arch;
use crate::kernel::{CAPABILITIES, How, Kernel, KernelError, Sizes, btf, privileges};
use crate::process;

/// What was found.
struct Report {
    kernel: String,
    privileges: Option<String>,
    btf: String,
    missing_fields: Vec<String>,
    capabilities: Vec<Verdict>,
    problem: Option<String>,
    advice: Vec<&'static str>,
}

/// Looks, prints, and fails when the agent could not run.
pub fn run(as_json: bool, how: How<'_>) -> anyhow::Result<()> {
    let report = look(how);
    print(&if as_json { format!("{:#}\n", json(&report)) } else { text(&report) })?;
    match &report.problem {
        None => Ok(()),
        Some(problem) => anyhow::bail!("the agent cannot run here: {problem}"),
    }
}

fn look(how: How<'_>) -> Report {
    let missing = privileges::missing();
    let path = how.btf.unwrap_or(Path::new(btf::VMLINUX));
    let resolution = btf::resolve(path, Arch::HOST);
    let missing_fields = resolution.as_ref().map_or_else(
        |_| Vec::new(),
        |found| {
            found
                .missing
                .iter()
                .filter(|field| ![foreign(), Need::Variant].contains(&field.need))
                .map(|field| format!("{}.{}", field.of, field.members[0]))
                .collect()
        },
    );
    let mut report = Report {
        kernel: process::kernel_release(),
        privileges: (!missing.is_empty()).then(|| privileges::advice(&missing)),
        btf: resolution.as_ref().map_or_else(ToString::to_string, |found| {
            format!("{}: every field that is needed is there", found.path.display())
        }),
        missing_fields,
        capabilities: Vec::new(),
        problem: None,
        advice: advice(),
    };
    match attach_all(how) {
        Ok(verdicts) => report.capabilities = verdicts,
        Err(error) => report.problem = Some(report.privileges.clone().unwrap_or_else(|| error.to_string())),
    }
    report
}

/// Fields of the other architecture are never here.
fn foreign() -> Need {
    if Arch::HOST.need() == Need::X86 { Need::Arm64 } else { Need::X86 }
}

/// Attaches everything for a moment, with no target: nothing is counted, and all is gone when this returns.
fn attach_all(how: How<'_>) -> Result<Vec<Verdict>, KernelError> {
    let sizes = Sizes {
        targets: 1,
        classes: 2,
        process_rules: 0,
        class_rules: 0,
        exe_paths: true,
        cgroups: true,
        named_directories: [u64::MAX; _],
        slow_bytes: 1 << 18,
    };
    let mut kernel = Kernel::load(sizes, how)?;
    let names: Vec<&str> = CAPABILITIES.iter().map(|capability| capability.name).collect();
    kernel.attach(&names)?;
    Ok(kernel.verdicts().to_vec())
}

/// Settings of the system that are worth a change.
fn advice() -> Vec<&'static str> {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let mut out = Vec::new();
    if read("/proc/sys/kernel/bpf_stats_enabled") == "0" {
        out.push("sysctl -w kernel.bpf_stats_enabled=1 makes the kernel keep run counts and times of the programs (some ns a run)");
    }
    if read("/proc/sys/net/core/bpf_jit_enable") == "0" {
        out.push("sysctl -w net.core.bpf_jit_enable=1: without it the programs are interpreted, which is several times slower");
    }
    out
}

fn json(report: &Report) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": report.kernel,
        "namespace": Config::default().namespace,
        "privileges": report.privileges,
        "btf": report.btf,
        "missing_fields": report.missing_fields,
        "capabilities": report.capabilities,
        "problem": report.problem,
        "advice": report.advice,
    })
}

fn text(report: &Report) -> String {
    let mut out = format!("stemedb-probe {} on Linux {}\n\n", env!("CARGO_PKG_VERSION"), report.kernel);
    out += &format!("privileges  {}\n", report.privileges.as_deref().unwrap_or("fine"));
    out += &format!("kernel BTF  {}\n", report.btf);
    if !report.missing_fields.is_empty() {
        out += &format!("            not in this kernel: {}\n", report.missing_fields.join(", "));
    }
    out += "\ncapability  hook\n";
    for verdict in &report.capabilities {
        out += &format!("{:<11} {}\n", verdict.capability, verdict.hook.as_deref().unwrap_or("OFF"));
        out += &format!("            gives {}\n", verdict.gives);
        match verdict.without {
            Some(without) => out += &format!("            why off: {}; then {without}\n", verdict.why),
            None => out += &format!("            why this one: {}\n", verdict.why),
        }
    }
    for advice in &report.advice {
        out += &format!("\nadvice: {advice}\n");
    }
    out += match report.problem {
        None => "\nThe agent can run here.\n",
        Some(_) => "",
    };
    out
}
