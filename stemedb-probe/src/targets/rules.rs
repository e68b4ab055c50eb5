//! Process rules, compiled for the kernel; the same automata are used here for what ran before the agent.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use stemedb_ebpf::glob::Automaton;
use stemedb_ebpf::{ProcessRule, RULE_CGROUP, RULE_COMM, RULE_EXE};

use crate::config::Config;
use crate::kernel::{Kernel, KernelError};

/// Every rule, in the order in which the kernel tries them.
pub struct Rules(Vec<ProcessRule>);

impl Rules {
    /// Compiles the rules of a configuration, whose patterns have been checked.
    #[must_use]
    pub fn compile(config: &Config) -> Self {
        let mut rules = Vec::new();
        for (target, patterns) in (0_u32..).zip(&config.targets) {
            let globs = patterns.processes.iter().flat_map(crate::config::ProcessPattern::globs);
            for (kind, pattern) in globs {
                if let Ok(glob) = Automaton::new(&pattern) {
                    rules.push(ProcessRule { glob, kind, target });
                }
            }
        }
        Self(rules)
    }

    /// Number of rules.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Whether a rule is of this kind.
    #[must_use]
    pub fn has(&self, kind: u32) -> bool {
        self.0.iter().any(|rule| rule.kind == kind)
    }

    /// Puts the rules where the kernel side reads them.
    pub fn install(&self, kernel: &mut Kernel) -> Result<(), KernelError> {
        kernel.fill("PROCESS_RULES", &self.0)
    }

    /// The target of a command name.
    #[must_use]
    pub fn by_comm(&self, comm: &[u8]) -> Option<u32> {
        self.find(RULE_COMM, comm)
    }

    /// The target of an executable's path.
    #[must_use]
    pub fn by_exe(&self, path: &[u8]) -> Option<u32> {
        self.find(RULE_EXE, path)
    }

    /// The target of a cgroup's path.
    #[must_use]
    pub fn by_cgroup(&self, path: &[u8]) -> Option<u32> {
        self.find(RULE_CGROUP, path)
    }

    fn find(&self, kind: u32, text: &[u8]) -> Option<u32> {
        self.0.iter().find(|rule| rule.kind == kind && rule.glob.matches(text)).map(|rule| rule.target)
    }
}

/// Every cgroup of the unified hierarchy: its id and its path. The id is the inode number of its directory
/// (kernfs, on 64-bit machines).
#[must_use]
pub fn cgroups() -> Vec<(u64, Vec<u8>)> {
    let Some(root) = unified_mount() else { return Vec::new() };
    let directories = walkdir::WalkDir::new(&root).min_depth(1).into_iter().filter_map(Result::ok);
    directories
        .filter(|entry| entry.file_type().is_dir())
        .filter_map(|entry| {
            let id = entry.metadata().ok()?.ino();
            let path = entry.path().strip_prefix(&root).ok()?;
            Some((id, format!("/{}", path.display()).into_bytes()))
        })
        .collect()
}

/// Where cgroup v2 is mounted.
fn unified_mount() -> Option<PathBuf> {
    let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
    mounts.into_iter().find(|mount| mount.fs_type == "cgroup2").map(|mount| mount.mount_point)
}
