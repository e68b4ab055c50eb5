//! Keeps the kernel's maps of class directories right while directories come, go, move and are mounted.
//!
//! Each directory in the maps is pinned by an inotify watch: that keeps its inode, hence its address, for as long as the map
//! names it, but unlike an open descriptor it does not keep its file system from being unmounted. The watch also tells of
//! changes, and of new files: a rotation is a file that appears in a class directory.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use aya::maps::{HashMap as BpfMap, MapData};
use inotify::{EventMask, Events, Inotify, WatchDescriptor, WatchMask};
use serde::Serialize;
use stemedb_ebpf::{ChildEntry, ChildKey, MAX_DIRS, NO_CLASS, Resolved};

use super::open::{self, Located, Root};
use super::overlay;
use super::plan::{Named, Numbers, Place, Plan};
use super::table::Table;
use crate::kernel::{Kernel, KernelError, grace};

/// A directory of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Index of the target.
    pub target: u32,
    /// Number of the class.
    pub class: u32,
    /// Where, as the target sees it.
    pub path: PathBuf,
    /// Why this one.
    pub origin: Origin,
}

/// Where a class directory comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration names it.
    Configured,
    /// The agent found it among the target's open files.
    Found(String),
}

/// What became of a directory of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// Whose view of the file system.
    #[serde(skip)]
    pub root: Root,
    /// Whether it is there.
    pub found: bool,
    /// What the kernel answered, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A directory that a watch pins.
struct Pin {
    inode: u64,
    /// Where it was: its parent's inode, and its name there.
    home: Option<(u64, OsString)>,
    /// It was removed there. Files that were in it may still be open, and are still of its class.
    removed: bool,
}

/// Everything about class directories.
pub struct Directories {
    inotify: Inotify,
    dirs: Table,
    children: BpfMap<MapData, ChildKey, ChildEntry>,
    specs: Vec<Spec>,
    named: Vec<Named>,
    states: HashMap<(Spec, Root), State>,
    pins: HashMap<WatchDescriptor, Pin>,
    numbers: Numbers,
    installed: Plan,
    rotations: HashMap<(u32, u32), u64>,
    moved_from: Option<(u32, u64)>,
    overflows: u64,
    /// Events have been taken in since the directories were looked at.
    look_again: bool,
}

/// What makes the agent look again: `IN_CREATE` and the like cost nothing while files are only written.
const MASK: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::DELETE_SELF);

impl Directories {
    /// Takes the maps.
    pub fn new(kernel: &mut Kernel, specs: Vec<Spec>, named: Vec<Named>) -> Result<Self, KernelError> {
        let inotify = Inotify::init().map_err(|error| {
            KernelError::Io(
                "cannot watch directories (inotify_init); raise fs.inotify.max_user_instances".to_owned(),
                error,
            )
        })?;
        Ok(Self {
            inotify,
            dirs: Table::new(kernel)?,
            children: kernel.take("CHILDREN")?,
            specs,
            named,
            states: HashMap::new(),
            pins: HashMap::new(),
            numbers: Numbers::default(),
            installed: Plan::default(),
            rotations: HashMap::new(),
            moved_from: None,
            overflows: 0,
            look_again: false,
        })
    }

    /// Adds a directory that the agent has found by itself.
    pub fn add(&mut self, spec: Spec) {
        if !self.specs.contains(&spec) {
            self.specs.push(spec);
        }
    }

    /// Forgets a directory that the agent has found by its name, and that is gone: it would be found again.
    pub fn drop_gone(&mut self) {
        let named = |spec: &Spec| {
            let name = spec.path.file_name();
            self.named.iter().any(|named| {
                (named.target, named.class) == (spec.target, spec.class) && name == Some(OsStr::new(&named.name))
            })
        };
        let gone = |spec: &Spec| {
            let mut states = self.states.iter().filter(|((of, _), _)| of == spec).peekable();
            states.peek().is_some() && states.all(|(_, state)| !state.found)
        };
        let keep: Vec<bool> =
            self.specs.iter().map(|spec| spec.origin == Origin::Configured || !named(spec) || !gone(spec)).collect();
        let mut keep = keep.into_iter();
        self.specs.retain(|_| keep.next().unwrap_or(true));
    }

    /// The classes that are known by the name of a directory.
    #[must_use]
    pub fn named(&self) -> &[Named] {
        &self.named
    }

    /// The directories of the configuration.
    #[must_use]
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// What became of one.
    pub fn states(&self, spec: &Spec) -> impl Iterator<Item = &State> {
        self.states.iter().filter(move |((of, _), _)| of == spec).map(|(_, state)| state)
    }

    /// New files by target and class.
    #[must_use]
    pub fn rotations(&self) -> &HashMap<(u32, u32), u64> {
        &self.rotations
    }

    /// How often the kernel has dropped events.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// The descriptor that becomes readable when there are events.
    #[must_use]
    pub fn inotify(&self) -> &Inotify {
        &self.inotify
    }

    /// Entries in the two maps.
    #[must_use]
    pub fn map_entries(&self) -> [u64; 2] {
        [self.installed.dirs.len() as u64, self.installed.children.len() as u64]
    }

    /// Looks where every directory is now, in the agent's own view and in those of `roots` (by target), and tells the kernel.
    pub fn refresh(&mut self, kernel: &Kernel, roots: &[(u32, Root)]) -> Result<(), KernelError> {
        /// What goes on all the time is looked at again by the next event, or by the clock.
        const TIMES: usize = 3;
        for _ in 0..TIMES {
            self.refresh_once(kernel, roots)?;
            if !std::mem::take(&mut self.look_again) {
                break;
            }
        }
        Ok(())
    }

    fn refresh_once(&mut self, kernel: &Kernel, roots: &[(u32, Root)]) -> Result<(), KernelError> {
        let mut places = Vec::new();
        let mut states = HashMap::new();
        let mut kept = HashSet::new();
        for spec in self.specs.clone() {
            let others = roots.iter().filter(|(target, _)| *target == spec.target).map(|(_, root)| *root);
            for root in std::iter::once(Root::Own).chain(others) {
                let (place, state) = self.look(kernel, &spec, root, &mut kept);
                self.note(&spec, root, &state);
                states.insert((spec.clone(), root), state);
                places.extend(place);
                if let Some(path) = overlay::real_directory(root, &spec.path) {
                    let below = Spec { path, ..spec.clone() };
                    places.extend(self.look(kernel, &below, Root::Own, &mut kept).0);
                }
            }
        }
        self.states = states;
        let plan = Plan::new(&places, &self.named, &mut self.numbers);
        self.apply(plan)?;
        self.unpin(&kept);
        Ok(())
    }

    fn look(
        &mut self,
        kernel: &Kernel,
        spec: &Spec,
        root: Root,
        kept: &mut HashSet<WatchDescriptor>,
    ) -> (Option<Place>, State) {
        let located = match open::locate(root, &spec.path) {
            Ok(located) => located,
            Err(error) => return (None, State { root, found: false, problem: Some(error.to_string()) }),
        };
        let Located { directory: opened, anchor } = located;
        let found = opened.is_some();
        let mut problem = None;
        let mut pin = |file: &OwnedFd| match self.pin(kernel, file) {
            Ok((watch, resolved)) => {
                kept.insert(watch);
                Some(resolved)
            }
            Err(error) => {
                problem = Some(error.to_string());
                None
            }
        };
        let directory = opened.as_ref().and_then(&mut pin);
        let anchor = anchor.and_then(|(file, names)| Some((pin(&file)?, names)));
        if let (Some(directory), Some((parent, names))) = (&directory, &anchor) {
            let home = names.first().map(|name| (parent.inode, name.clone()));
            let ours = |pin: &&mut Pin| pin.inode == directory.inode;
            self.pins.values_mut().filter(ours).for_each(|pin| pin.home.clone_from(&home));
            // Its removal may have been told before it was known by its home.
            if opened.as_ref().is_some_and(open::is_unlinked) {
                self.pins.values_mut().filter(ours).for_each(|pin| pin.removed = true);
            }
        }
        let state = State { root, found, problem };
        (Some(Place { target: spec.target, class: spec.class, directory, anchor }), state)
    }

    /// Says once when a directory appears or is missing; counts the files that were in a new one before its watch.
    fn note(&mut self, spec: &Spec, root: Root, state: &State) {
        let before = self.states.get(&(spec.clone(), root)).map(|state| state.found);
        let path = spec.path.display();
        match (before, state.found) {
            (Some(true), false) => {
                log::warn!("class directory {path} is gone; its files count again as soon as it is back");
            }
            (None, false) if root == Root::Own => {
                let why = state.problem.as_deref().unwrap_or("it does not exist");
                log::warn!(
                    "class directory {path}: {why}; the agent keeps looking, and counts from the moment it appears"
                );
            }
            (Some(false), true) => log::info!("class directory {path} has appeared"),
            _ => {}
        }
        if before == Some(false) && state.found {
            let directory = open::locate(root, &spec.path).ok().and_then(|located| located.directory);
            let files = directory.and_then(|directory| std::fs::read_dir(open::self_fd(&directory)).ok());
            let files = files.into_iter().flatten().filter_map(Result::ok);
            let count = files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file())).count();
            *self.rotations.entry((spec.target, spec.class)).or_default() += count as u64;
        }
    }

    /// Watches a directory, and only then asks for its address.
    fn pin(&mut self, kernel: &Kernel, file: &OwnedFd) -> Result<(WatchDescriptor, Resolved), KernelError> {
        let watch = self.inotify.watches().add(open::self_fd(file), MASK).map_err(|error| {
            KernelError::Io(
                "cannot watch a class directory; if it says no space, raise fs.inotify.max_user_watches".to_owned(),
                error,
            )
        })?;
        let resolved = kernel.resolve(file.as_fd())?;
        self.pins.entry(watch.clone()).or_insert(Pin { inode: resolved.inode, home: None, removed: false });
        Ok((watch, resolved))
    }

    /// Writes what is new, then takes away what is stale: no look-up in between finds nothing. One that has passed the place of
    /// what is new, and not yet reached what is stale, is waited for.
    fn apply(&mut self, mut plan: Plan) -> Result<(), KernelError> {
        for (key, entry) in &plan.children {
            if self.installed.children.get(key) != Some(entry) {
                self.children.insert(key, entry, 0)?;
            }
        }
        for (key, entry) in &plan.dirs {
            if self.installed.dirs.get(key) != Some(entry) && !self.dirs.insert(*entry) {
                return Err(KernelError::Directories(MAX_DIRS));
            }
        }
        let installed = &self.installed;
        if installed.dirs.keys().any(|key| !plan.dirs.contains_key(key))
            || installed.children.keys().any(|key| !plan.children.contains_key(key))
        {
            grace::wait();
            // A directory that was not at its path any more may have been removed so shortly before that nothing told of it yet.
            self.look_again |= self.read_events().unwrap_or(true);
        }
        for (key, entry) in &self.installed.dirs {
            if plan.dirs.contains_key(key) {
                continue;
            }
            if entry.class != NO_CLASS && self.is_removed(key.inode) {
                // Unlinked, but files that were in it may still be open; it goes with its watch.
                plan.dirs.insert(*key, *entry);
            } else {
                self.dirs.remove(key);
            }
        }
        for key in self.installed.children.keys().filter(|key| !plan.children.contains_key(*key)) {
            let _ = self.children.remove(key);
        }
        self.installed = plan;
        Ok(())
    }

    /// Whether a pinned directory was removed, and not moved away or replaced by another at its path.
    fn is_removed(&self, inode: u64) -> bool {
        self.pins.values().any(|pin| pin.inode == inode && pin.removed)
    }

    fn unpin(&mut self, kept: &HashSet<WatchDescriptor>) {
        let named: HashSet<u64> = self.installed.dirs.keys().map(|key| key.inode).collect();
        let stale: Vec<WatchDescriptor> = self
            .pins
            .iter()
            .filter(|(watch, pin)| !kept.contains(*watch) && !named.contains(&pin.inode))
            .map(|(watch, _)| watch.clone())
            .collect();
        for watch in stale {
            self.pins.remove(&watch);
            let _ = self.inotify.watches().remove(watch);
        }
    }

    /// Takes in the events that are there. True when a directory may have come or gone.
    pub fn read_events(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let mut look_again = false;
        loop {
            let events: Vec<_> = match self.inotify.read_events(&mut buffer) {
                Ok(events) => owned(events),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(look_again),
                Err(error) => return Err(error),
            };
            for (watch, mask, cookie, name) in events {
                look_again |= self.event(&watch, mask, cookie, name);
            }
        }
    }

    fn event(&mut self, watch: &WatchDescriptor, mask: EventMask, cookie: u32, name: Option<OsString>) -> bool {
        if mask.contains(EventMask::Q_OVERFLOW) {
            self.overflows += 1;
            return true;
        }
        if mask.contains(EventMask::IGNORED) {
            self.forget(watch);
            return true;
        }
        let Some(inode) = self.pins.get(watch).map(|pin| pin.inode) else { return false };
        if mask.contains(EventMask::ISDIR) {
            if let (true, Some(name)) = (mask.contains(EventMask::DELETE), name) {
                let home = (inode, name);
                self.pins
                    .values_mut()
                    .filter(|pin| pin.home.as_ref() == Some(&home))
                    .for_each(|pin| pin.removed = true);
            }
            return true;
        }
        if mask.contains(EventMask::MOVED_FROM) {
            self.moved_from = Some((cookie, inode));
        } else if mask.contains(EventMask::CREATE)
            || (mask.contains(EventMask::MOVED_TO) && self.moved_from != Some((cookie, inode)))
        {
            let classes =
                self.installed.dirs.iter().filter(|(key, entry)| key.inode == inode && entry.class != NO_CLASS);
            for (key, entry) in classes {
                *self.rotations.entry((key.target, entry.class)).or_default() += 1;
            }
        }
        false
    }

    /// The inode of a watch is gone: so is everything that names its address.
    fn forget(&mut self, watch: &WatchDescriptor) {
        let Some(pin) = self.pins.remove(watch) else { return };
        let inode = pin.inode;
        if self.pins.values().any(|other| other.inode == inode) {
            // Another directory is at that address by now, and has been found before this was told.
            return;
        }
        for key in self.installed.dirs.keys().filter(|key| key.inode == inode) {
            self.dirs.remove(key);
        }
        for key in self.installed.children.keys().filter(|key| key.parent == inode) {
            let _ = self.children.remove(key);
        }
        self.installed.dirs.retain(|key, _| key.inode != inode);
        self.installed.children.retain(|key, _| key.parent != inode);
    }
}

fn owned(events: Events<'_>) -> Vec<(WatchDescriptor, EventMask, u32, Option<OsString>)> {
    events.map(|event| (event.wd, event.mask, event.cookie, event.name.map(OsStr::to_owned))).collect()
}
