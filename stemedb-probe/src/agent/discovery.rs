//! Looks for directories among what the targets' processes have open.

use super::Agent;
use crate::config::{FilePattern, Target, WAL};
use crate::files::directories::{Origin, Spec};
use crate::files::discover::{self, Choice};

/// Processes of a target whose open files are looked at in one go.
const MANY: usize = 32;

/// After so many ticks without finding anything, only one of as many looks.
const OFTEN: u32 = 12;

/// How a target's WAL directory was guessed.
#[derive(Default)]
pub(super) struct Guess {
    /// The process that had it open.
    from: Option<u32>,
    /// Ticks in which there was something to guess since.
    looks: u32,
}

impl Agent {
    /// Finds the directories that rules know by name, and the WAL directory of targets without a rule that finds it.
    pub(super) fn discover(&mut self) {
        self.directories.drop_gone();
        let pids: Vec<u32> = self.targets.processes().keys().copied().collect();
        self.discover_named(&pids);
        let wal = self.classes.iter().position(|class| class == WAL).and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        let guessed = (0_u32..).zip(&self.config.targets).filter(|(_, target)| guesses(target)).map(|(index, _)| index);
        let guessed: Vec<u32> = guessed.collect();
        for target in guessed {
            if self.is_to_guess(target, wal) {
                let found = self.pids_of(target).take(MANY).find_map(|pid| Some((pid, discover::wal_directory(pid)?)));
                if let Some((pid, choice)) = found {
                    self.guesses.insert(target, Guess { from: Some(pid), looks: 0 });
                    self.take(target, wal, Some(choice));
                }
            }
        }
    }

    /// Whether to look for a target's WAL directory among open files: there is none yet, or the process is gone that had it open, and the
    /// next one may have another.
    fn is_to_guess(&mut self, target: u32, wal: u32) -> bool {
        let has_process = self.pids_of(target).next().is_some();
        let guess = self.guesses.entry(target).or_default();
        let is_known = match guess.from {
            Some(pid) => self.targets.processes().contains_key(&pid),
            None => self.directories.specs().iter().any(|spec| (spec.target, spec.class) == (target, wal)),
        };
        if is_known || !has_process {
            guess.looks = 0;
            return false;
        }
        guess.looks += 1;
        guess.looks <= OFTEN || guess.looks.is_multiple_of(OFTEN)
    }

    /// Finds the directories that rules know by name. They count already, by their name: but what is in one, and that files
    /// appear in it, is known from here on; and so are the files where the name is a symbolic link or a mount point.
    pub(super) fn discover_named(&mut self, pids: &[u32]) {
        for named in self.directories.named().to_vec() {
            let processes = self.targets.processes();
            let ours = |pid: &&u32| processes.get(pid).is_some_and(|process| process.target == named.target);
            let ours: Vec<u32> = pids.iter().filter(ours).copied().collect();
            for pid in &ours {
                self.take(named.target, named.class, discover::by_working_directory(*pid, &named.name));
            }
            if !self.has_directory(named.target, named.class) {
                let choice = ours.iter().take(MANY).find_map(|pid| discover::by_open_file(*pid, &named.name));
                self.take(named.target, named.class, choice);
            }
        }
    }

    fn pids_of(&self, target: u32) -> impl Iterator<Item = u32> {
        self.targets.processes().iter().filter(move |(_, process)| process.target == target).map(|(pid, _)| *pid)
    }

    fn has_directory(&self, target: u32, class: u32) -> bool {
        self.directories.specs().iter().any(|spec| (spec.target, spec.class) == (target, class))
    }

    fn take(&mut self, target: u32, class: u32, choice: Option<Choice>) {
        let Some(Choice { directory: path, why }) = choice else { return };
        let known = |spec: &Spec| (spec.target, spec.class, &spec.path) == (target, class, &path);
        if self.directories.specs().iter().any(known) {
            return;
        }
        let (name, class_name) = (&self.config.targets[target as usize].name, &self.classes[class as usize]);
        log::info!("target {name}: took {} for a directory of class {class_name}: {why}", path.display());
        self.directories.add(Spec { target, class, path, origin: Origin::Found(why) });
    }
}

/// Whether the WAL directory may be guessed: nothing says which files are the WAL's, or only a directory's name does, which the
/// user may have changed.
fn guesses(target: &Target) -> bool {
    let mut rules = target.files.iter().filter(|(class, _)| class == WAL);
    rules.all(|(_, pattern)| matches!(pattern, FilePattern::Anywhere(_)))
}
