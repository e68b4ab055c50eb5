//! The running agent: owns the kernel side, and keeps targets and directories up to date. [`view`] makes snapshots of it, and
//! [`tasks`] is what goes on while it runs.

mod discovery;
mod slow;
mod tasks;
mod usages;
mod view;

pub use tasks::{serve, trace};

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use stemedb_ebpf::{Lost, RULE_CGROUP, RULE_EXE};

use crate::config::{Config, Slow};
use crate::disks::Device;
use crate::disks::mounts::Mount;
use crate::files::open::Root;
use crate::files::usage::Usage;
use crate::files::{
    self,
    directories::{Directories, Spec},
};
use crate::kernel::{CAPABILITIES, How, Kernel, KernelError, Sizes};
use crate::probes::ring::Ring;
use crate::probes::slow as slow_calls;
use crate::probes::{disks, errors, events, files as written, inflight, lost, mapped, sync, waits, write};
use crate::process;
use crate::slow::List;
use crate::targets::Targets;
use crate::targets::rules::Rules;

use usages::Measurable;

/// How often directories are looked for again, and idle entries swept.
const TICK: Duration = Duration::from_secs(5);
/// How often the contents of the directories are measured.
const MEASURE: Duration = Duration::from_secs(10);
/// How often /proc is looked through although the kernel side tells of every process.
const RESCAN: Duration = Duration::from_mins(1);

/// The ring of slow calls: some thousand of them, and where all are printed, as many as come in a tenth of a second.
const SLOW_BYTES: u32 = 1 << 18;
/// See [`SLOW_BYTES`].
const TRACE_BYTES: u32 = 4 << 20;

/// Capabilities that must be there before /proc is looked through, so that no process slips between.
const LIFE: &[&str] = &["process", "rename", "exe", "cgroup"];

/// The maps that figures are read from.
struct Readers {
    syncs: sync::Reader,
    writes: write::Reader,
    mapped: mapped::Reader,
    errors: errors::Reader,
    disks: disks::Reader,
    lost: lost::Reader,
    files: written::Reader,
    waits: waits::Sweeper,
    inflight: inflight::Reader,
}

/// A directory of a class of a target.
type Place = (u32, u32, PathBuf);

/// See the module.
pub struct Agent {
    config: Config,
    classes: Vec<String>,
    kernel: Kernel,
    targets: Targets,
    directories: Directories,
    readers: Readers,
    events: Option<Ring>,
    slow: slow::SlowCalls,
    slow_ring: Option<Ring>,
    usage: HashMap<(u32, u32), Usage>,
    mounts: HashMap<Place, Mount>,
    guesses: BTreeMap<u32, discovery::Guess>,
    devices: BTreeMap<u32, Device>,
    inflight_entries: u64,
    file_entries: u64,
    events_lost: u64,
    rescanned: Instant,
    rescan_again: bool,
    started: Instant,
    release: String,
    /// How long the last scrape took.
    pub scrape_seconds: f64,
}

impl Agent {
    /// Loads, configures, attaches. When it returns, every call that begins is counted.
    pub fn start(config: Config) -> Result<Self, KernelError> {
        let classes = config.classes();
        let mut kernel = Kernel::load(
            sizes(&config),
            How { hooks: config.hooks, btf: config.btf.as_deref(), without: &config.without },
        )?;
        files::install_names(&mut kernel, &config)?;
        let targets = Targets::new(&mut kernel, &config)?;
        let specs = files::configured_directories(&config);
        let directories = Directories::new(&mut kernel, specs, files::named_directories(&config))?;
        let count = u32::try_from(classes.len()).unwrap_or(u32::MAX);
        let readers = Readers {
            syncs: sync::Reader::new(&mut kernel, count)?,
            writes: write::Reader::new(&mut kernel, count)?,
            mapped: mapped::Reader::new(&mut kernel, count)?,
            errors: errors::Reader::new(&mut kernel, count)?,
            disks: disks::Reader::new(&mut kernel)?,
            lost: lost::Reader::new(&mut kernel)?,
            files: written::Reader::new(&mut kernel)?,
            waits: waits::Sweeper::new(&mut kernel)?,
            inflight: inflight::Reader::new(&mut kernel)?,
        };
        let events = Some(Ring::new(&mut kernel, events::RING)?);
        let threshold = slow_calls::Threshold::new(&mut kernel, slow::first(config.slow))?;
        let slow_ring = Some(Ring::new(&mut kernel, slow_calls::RING)?);
        let mut agent = Self {
            config,
            classes,
            kernel,
            targets,
            directories,
            readers,
            events,
            slow: slow::SlowCalls { threshold, list: List::default() },
            slow_ring,
            usage: HashMap::new(),
            mounts: HashMap::new(),
            guesses: BTreeMap::new(),
            devices: BTreeMap::new(),
            inflight_entries: 0,
            file_entries: 0,
            events_lost: 0,
            rescanned: Instant::now(),
            rescan_again: false,
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
        self.look_through_proc();
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
    fn drain_events(&mut self, events: &mut Ring) {
        let mut new = Vec::new();
        while let Some(event) = events::take_next(events) {
            if self.targets.event(&event) {
                new.push(event.tgid);
            }
        }
        if !new.is_empty() {
            self.discover_named(&new);
            self.refresh_directories();
        }
    }

    /// Finds processes of which no event tells, and counts those for which there is no room.
    fn look_through_proc(&mut self) {
        self.targets.scan();
        self.readers.lost.set(Lost::TargetsFull, self.targets.unwatched());
    }

    /// What is done every [`TICK`].
    fn tick(&mut self) {
        let events_lost = self.readers.lost.read().map_or(0, |lost| lost[Lost::EventsFull as usize]);
        let more_lost = events_lost != self.events_lost;
        if more_lost || self.rescan_again || self.rescanned.elapsed() > RESCAN {
            // Events that were still in the ring may tell of processes whose end is among those lost.
            self.rescan_again = more_lost;
            self.events_lost = events_lost;
            self.rescanned = Instant::now();
            self.look_through_proc();
        }
        self.discover();
        self.refresh_directories();
        self.look_at_devices();
        self.kernel.wake();
        if let Err(error) = self.kernel.learn_functions() {
            log::error!("cannot tell the kernel side about functions of modules: {error}");
        }
        self.sweep();
        self.look_for_slow();
    }

    /// Devices come and go, and may come back by another name: one that is gone keeps its last one, until another has that.
    fn look_at_devices(&mut self) {
        let found: BTreeMap<u32, Device> =
            self.devices.keys().filter_map(|dev| Some((*dev, crate::disks::device(*dev)?))).collect();
        for (dev, known) in &mut self.devices {
            match found.get(dev) {
                Some(found) => known.clone_from(found),
                None if found.values().any(|other| other.name == known.name) => *known = crate::disks::unknown(*dev),
                None => {}
            }
        }
    }

    /// The names of devices, also of those that have just appeared.
    fn name_devices(&mut self, seen: impl Iterator<Item = u32>) {
        for dev in seen {
            self.devices
                .entry(dev)
                .or_insert_with(|| crate::disks::device(dev).unwrap_or_else(|| crate::disks::unknown(dev)));
        }
    }

    fn sweep(&mut self) {
        let swept = self.readers.inflight.calls().and_then(|calls| {
            self.inflight_entries = calls.len() as u64;
            self.file_entries = self.readers.files.count()?;
            self.readers.waits.sweep(&calls, process::monotonic_ns())
        });
        if let Err(error) = swept {
            log::error!("cannot look at the calls in flight: {error}");
        }
    }

    /// The directories to measure.
    fn measurable(&self) -> Vec<Measurable> {
        let of_spec = |spec: &Spec| {
            let found = self.directories.states(spec).filter(|state| state.found);
            let (target, class, path) = (spec.target, spec.class, spec.path.clone());
            found
                .map(move |state| Measurable { target, class, root: state.root, path: path.clone() })
                .collect::<Vec<_>>()
        };
        self.directories.specs().iter().flat_map(of_spec).collect()
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
            let left = self.readers.inflight.count().unwrap_or_else(|error| {
                log::error!("cannot look at the calls in flight: {error}");
                0
            });
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
        slow_bytes: match config.slow {
            Slow::Slowest => SLOW_BYTES,
            Slow::From(_) => TRACE_BYTES,
        },
        named_directories: files::with_named_directories(config),
    }
}
