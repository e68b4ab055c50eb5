//! Makes a snapshot: each map is read once, and what the agent knows by itself is put beside it.

use stemedb_ebpf::disk::MAX_REQUESTS;
use stemedb_ebpf::files::MAX_FILES;
use stemedb_ebpf::{Lost, MAX_DIRS, MAX_INFLIGHT, MAX_PROCESSES};

use super::Agent;
use crate::config::FilePattern;
use crate::files::directories::Origin;
use crate::kernel::KernelError;
use crate::snapshot::{DirectoryState, MapState, Snapshot, TargetState};

impl Agent {
    /// Everything that is known now. Each map is read once.
    pub fn snapshot(&mut self) -> Result<Snapshot, KernelError> {
        let programs = self.kernel.program_figures();
        let readers = &mut self.readers;
        readers.lost.set(Lost::InotifyOverflow, self.directories.overflows());
        readers.lost.set(Lost::Recursion, programs.iter().map(|program| program.recursion_misses).sum());
        let disks = self.readers.disks.read()?;
        self.name_devices(disks.devices());
        Ok(Snapshot {
            devices: self.devices.clone(),
            disks,
            targets: self.target_states(),
            classes: self.classes.clone(),
            syncs: self.readers.syncs.read()?,
            writes: self.readers.writes.read()?,
            mapped: self.readers.mapped.read()?,
            errors: self.readers.errors.read()?,
            lost: self.readers.lost.read()?,
            directories: self.directory_states(),
            maps: self.map_states()?,
            programs,
            capabilities: self.kernel.verdicts().to_vec(),
            kernel: self.release.clone(),
            scrape_seconds: self.scrape_seconds,
        })
    }

    fn target_states(&self) -> Vec<TargetState> {
        let one = |(index, target): (u32, &crate::config::Target)| TargetState {
            name: target.name.clone(),
            rules: target.processes.iter().map(ToString::to_string).collect(),
            processes: self
                .targets
                .processes()
                .iter()
                .filter(|(_, process)| process.target == index)
                .map(|(pid, process)| (*pid, process.comm.clone()))
                .collect(),
            seen: self.targets.seen()[index as usize],
        };
        (0_u32..).zip(&self.config.targets).map(one).collect()
    }

    fn directory_states(&self) -> Vec<DirectoryState> {
        let directories = self.directories.specs().iter().map(|spec| {
            let cell = (spec.target, spec.class);
            let states: Vec<_> = self.directories.states(spec).collect();
            DirectoryState {
                target: spec.target,
                class: spec.class,
                pattern: spec.path.display().to_string(),
                origin: match &spec.origin {
                    Origin::Configured => "configured".to_owned(),
                    Origin::Found(why) => why.clone(),
                },
                found: states.iter().any(|state| state.found),
                problem: states.iter().find_map(|state| state.problem.clone()),
                usage: self.usage.get(&cell).copied(),
                mount: self.mounts.get(&(spec.target, spec.class, spec.path.clone())).cloned(),
                rotations: self.directories.rotations().get(&cell).copied().unwrap_or(0),
            }
        });
        let number =
            |class: &str| self.classes.iter().position(|other| other == class).and_then(|n| u32::try_from(n).ok());
        let names = (0_u32..).zip(&self.config.targets).flat_map(|(target, config)| {
            let rules = config.files.iter().filter(|(_, pattern)| !matches!(pattern, FilePattern::Directory(_)));
            rules.filter_map(move |(class, pattern)| {
                Some(DirectoryState {
                    target,
                    class: number(class)?,
                    pattern: pattern.to_string(),
                    origin: config.origin(class, pattern),
                    found: true,
                    ..DirectoryState::default()
                })
            })
        });
        directories.chain(names).collect()
    }

    fn map_states(&self) -> Result<Vec<MapState>, KernelError> {
        let [dirs, children] = self.directories.map_entries();
        let state = |name, entries, capacity: u32| MapState { name, entries, capacity: capacity.into() };
        Ok(vec![
            state("targets", self.targets.processes().len() as u64, MAX_PROCESSES),
            state("inflight", self.inflight_entries, MAX_INFLIGHT),
            state("files", self.file_entries, MAX_FILES),
            state("requests", self.readers.disks.in_flight()?, MAX_REQUESTS),
            state("dirs", dirs, MAX_DIRS),
            state("children", children, MAX_DIRS),
        ])
    }
}
