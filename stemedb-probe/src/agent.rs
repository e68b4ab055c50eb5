//! The running agent: owns the kernel side, and keeps targets and directories up to date. [`view`] makes snapshots of it, and
//! [`tasks`] is what goes on while it runs.

mod tasks;
mod view;

pub use tasks::serve;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use aya::maps::HashMap as BpfMap;
use aya::maps::MapData;
use stemedb_ebpf::{Inflight, InflightKey, Lost, MAX_INFLIGHT, RULE_CGROUP, RULE_EXE};

use crate::config::{Config, FilePattern, WAL};
use crate::files::directories::{Directories, Origin, Spec};
use crate::files::open::{self, Located, Root};
use crate::files::usage::Usage;
use crate::files::{self, discover};
use crate::kernel::{CAPABILITIES, Kernel, KernelError, Sizes};
use crate::probes::{errors, events, lost, mapped, pending, sync, write};
use crate::process;
use crate::targets::Targets;
use crate::targets::rules::Rules;

/// How often directories are looked for again, and idle entries swept.
const TICK: Duration = Duration::from_secs(5);
/// How often the contents of the directories are measured.
const MEASURE: Duration = Duration::from_secs(10);
/// How often /proc is looked through although the kernel side tells of every process.
const RESCAN: Duration = Duration::from_mins(1);

/// Processes of a target whose open files are looked at in one go.
const DISCOVER: usize = 32;

/// Capabilities that must be there before /proc is looked through, so that no process slips between.
const LIFE: &[&str] = &["process", "rename", "exe", "cgroup"];

/// The maps that figures are read from.
struct Readers {
    syncs: sync::Reader,
    writes: write::Reader,
    mapped: mapped::Reader,
    errors: errors::Reader,
    lost: lost::Reader,
    pending: pending::Sweeper,
    inflight: BpfMap<MapData, InflightKey, Inflight>,
}

/// See the module.
pub struct Agent {
    config: Config,
    classes: Vec<String>,
    kernel: Kernel,
    targets: Targets,
    directories: Directories,
    readers: Readers,
    events: Option<events::Reader>,
    usage: HashMap<(u32, u32), Usage>,
    pending_entries: u64,
    inflight_entries: u64,
    lost_writes: u64,
    events_lost: u64,
    rescanned: Instant,
    started: Instant,
    release: String,
    /// How long the last scrape took.
    pub scrape_seconds: f64,
}

impl Agent {
    /// Loads, configures, attaches. When it returns, every call that begins is counted.
    pub fn start(config: Config) -> Result<Self, KernelError> {
        let classes = config.classes();
        let mut kernel = Kernel::load(sizes(&config), config.hooks, config.btf.as_deref())?;
        files::install_names(&mut kernel, &config)?;
        let targets = Targets::new(&mut kernel, &config)?;
        let directories = Directories::new(&mut kernel, specs(&config, &classes))?;
        let count = u32::try_from(classes.len()).unwrap_or(u32::MAX);
        let readers = Readers {
            syncs: sync::Reader::new(&mut kernel, count)?,
            writes: write::Reader::new(&mut kernel, count)?,
            mapped: mapped::Reader::new(&mut kernel, count)?,
            errors: errors::Reader::new(&mut kernel, count)?,
            lost: lost::Reader::new(&mut kernel)?,
            pending: pending::Sweeper::new(&mut kernel)?,
            inflight: kernel.take("INFLIGHT")?,
        };
        let events = Some(events::Reader::new(&mut kernel)?);
        let mut agent = Self {
            config,
            classes,
            kernel,
            targets,
            directories,
            readers,
            events,
            usage: HashMap::new(),
            pending_entries: 0,
            inflight_entries: 0,
            lost_writes: 0,
            events_lost: 0,
            rescanned: Instant::now(),
            started: Instant::now(),
            release: process::kernel_release(),
            scrape_seconds: 0.0,
        };
        agent.attach()?;
        Ok(agent)
    }

    /// Directories before processes before calls: what is counted is counted right from the first call on.
    fn attach(&mut self) -> Result<(), KernelError> {
        self.directories.refresh(&self.kernel, &[])?;
        self.kernel.attach(LIFE)?;
        self.targets.scan()?;
        self.discover();
        self.refresh_directories();
        let calls: Vec<&str> = CAPABILITIES.iter().map(|c| c.name).filter(|name| !LIFE.contains(name)).collect();
        self.kernel.attach(&calls)?;
        for (capability, reason) in [("aio", Lost::AsyncSubmit), ("uring", Lost::UringSubmit)] {
            if self.kernel.has(capability) {
                self.readers.lost.ignore(reason);
            }
        }
        self.kernel.settle();
        for verdict in self.kernel.verdicts() {
            log::debug!("{}: {} ({})", verdict.capability, verdict.hook.as_deref().unwrap_or("off"), verdict.why);
        }
        self.warn_of_empty_targets();
        Ok(())
    }

    fn warn_of_empty_targets(&self) {
        for (index, target) in (0_u32..).zip(&self.config.targets) {
            let count = self.targets.processes().values().filter(|process| process.target == index).count();
            let rules: Vec<String> = target.processes.iter().map(ToString::to_string).collect();
            if count == 0 {
                log::warn!(
                    "target {}: no process matches {}; it is watched from the moment it starts",
                    target.name,
                    rules.join(" or ")
                );
            } else {
                log::info!("target {}: {count} process(es) match {}", target.name, rules.join(" or "));
            }
        }
    }

    /// Finds the WAL directory of targets that have none configured.
    fn discover(&mut self) {
        let wal = self.classes.iter().position(|class| class == WAL).and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        for (index, target) in (0_u32..).zip(&self.config.targets) {
            let known = self.directories.specs().iter().any(|spec| (spec.target, spec.class) == (index, wal));
            if known || target.files.iter().any(|(class, _)| class == WAL) {
                continue;
            }
            let pids =
                self.targets.processes().iter().filter(|(_, process)| process.target == index).map(|(pid, _)| *pid);
            if let Some(choice) = pids.take(DISCOVER).find_map(discover::wal_directory) {
                log::info!(
                    "target {}: took {} for its WAL directory: {}",
                    target.name,
                    choice.directory.display(),
                    choice.why
                );
                self.directories.add(Spec {
                    target: index,
                    class: wal,
                    path: choice.directory,
                    origin: Origin::Found(choice.why),
                });
            }
        }
    }

    /// One root for each foreign mount namespace that a target has a process in.
    fn roots(&self) -> Vec<(u32, Root)> {
        let own = crate::targets::procs::mount_namespace(std::process::id());
        let mut roots = BTreeMap::new();
        for (pid, process) in self.targets.processes() {
            if let Some(namespace) = process.mount_namespace
                && Some(namespace) != own
            {
                roots.entry((process.target, namespace)).or_insert(Root::Of(*pid));
            }
        }
        roots.into_iter().map(|((target, _), root)| (target, root)).collect()
    }

    fn refresh_directories(&mut self) {
        // What has happened to directories decides what becomes of those that are not at their path any more.
        if let Err(error) = self.directories.read_events() {
            log::error!("cannot read directory events: {error}");
        }
        let roots = self.roots();
        if let Err(error) = self.directories.refresh(&self.kernel, &roots) {
            log::error!("cannot tell the kernel about class directories: {error}");
        }
    }

    /// Takes in the process events that are there.
    fn drain_events(&mut self, events: &mut events::Reader) {
        let mut new = false;
        while let Some(event) = events.take_next() {
            new |= self.targets.event(&event);
        }
        if new {
            self.refresh_directories();
        }
    }

    /// What is done every [`TICK`].
    fn tick(&mut self) {
        let events_lost = self.readers.lost.read().map_or(0, |lost| lost[Lost::EventsFull as usize]);
        if events_lost != self.events_lost || self.rescanned.elapsed() > RESCAN {
            self.events_lost = events_lost;
            self.rescanned = Instant::now();
            if let Err(error) = self.targets.scan() {
                log::error!("cannot look through /proc: {error}");
            }
        }
        self.discover();
        self.refresh_directories();
        self.sweep();
    }

    fn sweep(&mut self) {
        let swept = self.readers.pending.sweep(pending::monotonic_ns());
        self.pending_entries = swept.entries;
        // A key that goes away while the map is walked starts the walk again: on a busy host it would never end.
        let entries = self.readers.inflight.keys().take(MAX_INFLIGHT as usize).count();
        self.inflight_entries = entries as u64;
        self.lost_writes += swept.lost_writes;
    }

    /// The directories to measure, by target and class: opened as the target sees them.
    fn measurable(&self) -> Vec<((u32, u32), Vec<OwnedFd>)> {
        let mut out: BTreeMap<(u32, u32), Vec<OwnedFd>> = BTreeMap::new();
        for spec in self.directories.specs() {
            for state in self.directories.states(spec).filter(|state| state.found) {
                if let Ok(Located { directory: Some(directory), .. }) = open::locate(state.root, &spec.path) {
                    out.entry((spec.target, spec.class)).or_default().push(directory);
                }
            }
        }
        out.into_iter().collect()
    }

    /// Stops counting: nothing begins any more, and what has begun gets a second to end. Returns how many calls had
    /// not ended by then; they are missing from the figures.
    pub fn stop(&mut self) -> usize {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.kernel.detach(LIFE);
        let end = Instant::now() + PATIENCE;
        loop {
            // Again in each round: a program that was just running may have added one.
            self.targets.unwatch_all();
            // A walk that meets an entry which goes away begins anew, so that it may count some twice.
            let left = self.readers.inflight.keys().take(MAX_INFLIGHT as usize).flatten().count();
            if left == 0 || Instant::now() > end {
                return left;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How long the agent has run.
    #[must_use]
    pub fn uptime_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// What metric names begin with.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.config.namespace
    }
}

fn sizes(config: &Config) -> Sizes {
    let rules = Rules::compile(config);
    let len = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Sizes {
        targets: len(config.targets.len()),
        classes: len(config.classes().len()),
        process_rules: rules.count(),
        class_rules: len(files::name_rules(config).len()),
        exe_paths: rules.has(RULE_EXE),
        cgroups: rules.has(RULE_CGROUP),
    }
}

fn specs(config: &Config, classes: &[String]) -> Vec<Spec> {
    let mut out = Vec::new();
    for (target, patterns) in (0_u32..).zip(&config.targets) {
        for (class, pattern) in &patterns.files {
            let number = classes.iter().position(|other| other == class).and_then(|n| u32::try_from(n).ok());
            if let (FilePattern::Directory(path), Some(class)) = (pattern, number) {
                let spec = Spec { target, class, path: path.clone(), origin: Origin::Configured };
                if !out.contains(&spec) {
                    out.push(spec);
                }
            }
        }
    }
    out
}
