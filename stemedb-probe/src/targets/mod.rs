//! Which processes are watched. The kernel decides (see `probes/life.rs` there); this fills its rules, finds what ran
//! before it, and keeps a table of what it says.

pub mod procs;
pub mod rules;
pub mod watched;

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{HashMap, MapData};
use stemedb_ebpf::{Event, EventKind, FROM_CGROUP, FROM_PID, FROM_RULE, RULE_CGROUP, TargetEntry};

use crate::config::{Config, Key};
use crate::kernel::{Kernel, KernelError};
use procs::Facts;
use rules::Rules;
use watched::{Added, Watched};

/// A process of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Index of the target.
    pub target: u32,
    /// Its name when it was first seen; `None` when it was gone already.
    pub comm: Option<String>,
    /// Its mount namespace, likewise.
    pub mount_namespace: Option<u64>,
}

/// The table of watched processes.
pub struct Targets {
    rules: Rules,
    pids: Vec<(u32, u32)>,
    watched: Watched,
    cgroups: HashMap<MapData, u64, TargetEntry>,
    processes: BTreeMap<u32, Process>,
    /// Processes that have ever belonged to each target.
    seen: Vec<u64>,
    /// Processes for which there was no room, while they run; and how many there were ever.
    left_out: BTreeSet<u32>,
    unwatched: u64,
}

impl Targets {
    /// Puts the rules into the kernel.
    pub fn new(kernel: &mut Kernel, config: &Config) -> Result<Self, KernelError> {
        let rules = Rules::compile(config);
        rules.install(kernel)?;
        let pids = (0_u32..)
            .zip(&config.targets)
            .flat_map(|(index, target)| {
                let pids = target.processes.iter().filter(|rule| rule.key == Key::Pid);
                pids.filter_map(move |rule| Some((rule.pattern.parse().ok()?, index)))
            })
            .collect();
        Ok(Self {
            rules,
            pids,
            watched: Watched::new(kernel)?,
            cgroups: kernel.take("CGROUPS")?,
            processes: BTreeMap::new(),
            seen: vec![0; config.targets.len()],
            left_out: BTreeSet::new(),
            unwatched: 0,
        })
    }

    /// How many processes there was no room for.
    #[must_use]
    pub fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// Looks through /proc for processes that began before the kernel side, or whose event was lost.
    pub fn scan(&mut self) {
        let cgroups = if self.rules.has(RULE_CGROUP) { rules::cgroups() } else { Vec::new() };
        for (id, path) in cgroups {
            if let Some(target) = self.rules.by_cgroup(&path)
                && let Err(error) = self.cgroups.insert(id, TargetEntry { target, from: FROM_CGROUP }, 0)
            {
                log::error!("processes that begin in {} are not watched: {error}", String::from_utf8_lossy(&path));
            }
        }
        // A process may fork while the list is read, before its own entry makes the kernel side follow its children: so the
        // list is read again until nothing is new.
        while self.scan_processes() {}
        // A pid names the process that has it now, not one that gets it later.
        self.pids.clear();
        let gone: Vec<u32> = self.processes.keys().copied().filter(|pid| !procs::exists(*pid)).collect();
        for pid in gone {
            self.remove(pid);
        }
        self.left_out.retain(|pid| procs::exists(*pid));
    }

    /// One pass through /proc. True when it has found a process.
    fn scan_processes(&mut self) -> bool {
        let mut found = false;
        // The agent's own logging is nobody's database.
        for pid in procs::all().filter(|pid| *pid != std::process::id()) {
            if !self.processes.contains_key(&pid)
                && let Some(facts) = procs::facts(pid)
                && let Some(entry) = self.target_of(&facts)
            {
                found |= self.add(pid, entry);
            }
        }
        found
    }

    fn target_of(&self, facts: &Facts) -> Option<TargetEntry> {
        if let Some((_, target)) = self.pids.iter().find(|(pid, _)| *pid == facts.pid) {
            return Some(TargetEntry { target: *target, from: FROM_PID });
        }
        let by_program = self.rules.by_comm(&facts.comm).or_else(|| self.rules.by_exe(facts.exe.as_deref()?));
        if let Some(target) = by_program {
            return Some(TargetEntry { target, from: FROM_RULE });
        }
        let target = self.rules.by_cgroup(facts.cgroup.as_deref()?)?;
        Some(TargetEntry { target, from: FROM_CGROUP })
    }

    /// Makes a process of /proc a target, unless it has become something else meanwhile.
    fn add(&mut self, pid: u32, entry: TargetEntry) -> bool {
        match self.watched.add(pid, entry) {
            Added::New => {}
            Added::Known(known) => {
                self.note(pid, known.target);
                return false;
            }
            Added::Full => {
                // Its place in the table is taken by others, whose ids have the same lower 14 bits.
                if self.left_out.insert(pid) {
                    self.unwatched += 1;
                    log::warn!("process {pid} is not watched: there is no room for it");
                }
                return false;
            }
        }
        // From here on its exec and its exit are seen; what it did before is seen by looking again.
        let still = procs::exists(pid) && procs::facts(pid).and_then(|facts| self.target_of(&facts)) == Some(entry);
        if still {
            return self.note(pid, entry.target);
        }
        self.watched.remove(pid);
        false
    }

    /// Takes in what the kernel side says. True when the process is new to the table, or sees other mounts than before.
    pub fn event(&mut self, event: &Event) -> bool {
        if event.kind == EventKind::Left as u32 {
            self.processes.remove(&event.tgid);
            return false;
        }
        self.note(event.tgid, event.target)
    }

    fn note(&mut self, pid: u32, target: u32) -> bool {
        let facts = procs::facts(pid);
        let process = Process {
            target,
            comm: facts.map(|facts| String::from_utf8_lossy(&facts.comm).into_owned()),
            mount_namespace: procs::mount_namespace(pid),
        };
        let namespace = process.mount_namespace;
        let before = self.processes.insert(pid, process);
        // A container's first process has its own mount namespace only by the time at which it becomes the database.
        let moved = before.as_ref().is_some_and(|before| before.mount_namespace != namespace);
        let new = before.is_none();
        if new && let Some(seen) = self.seen.get_mut(target as usize) {
            *seen += 1;
        }
        new || moved
    }

    fn remove(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.watched.remove(pid);
    }

    /// Watches nothing any more: no call begins from here on.
    pub fn unwatch_all(&mut self) {
        self.watched.clear_all();
    }

    /// Processes that are watched now.
    #[must_use]
    pub fn processes(&self) -> &BTreeMap<u32, Process> {
        &self.processes
    }

    /// How many processes each target has had.
    #[must_use]
    pub fn seen(&self) -> &[u64] {
        &self.seen
    }
}
