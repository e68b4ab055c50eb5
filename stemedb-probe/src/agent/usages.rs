//! Measures what the classes' directories hold, and which mount each is of. All of it may hang with a file system that does.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Place;
use crate::disks::mounts::{self, Mount};
use crate::files::open::{self, Located, Root};
use crate::files::usage::{self, Identity, Usage};

/// A directory of a class of a target, as processes below a root see it.
pub(super) struct Measurable {
    pub(super) target: u32,
    pub(super) class: u32,
    pub(super) root: Root,
    pub(super) path: PathBuf,
}

/// What was found, by target and class, and by directory.
pub(super) type Measured = (HashMap<(u32, u32), Usage>, HashMap<Place, Mount>);

/// Measures them. A directory that is open keeps its file system from being unmounted, so none is open for longer than it takes.
pub(super) fn measure(work: &[Measurable]) -> Measured {
    let identities: Vec<Option<Identity>> = work.iter().map(|one| identity(&open(one.root, &one.path)?)).collect();
    let mut classes: Vec<(u32, u32)> = work.iter().map(|one| (one.target, one.class)).collect();
    classes.sort_unstable();
    classes.dedup();
    let (mut usage, mut mounts) = (HashMap::new(), HashMap::new());
    for (target, class) in classes {
        // What is in a directory of another class is that one's, as it is for the kernel side.
        let others = work.iter().zip(&identities).filter(|(one, _)| one.target == target && one.class != class);
        let others: BTreeSet<Identity> = others.filter_map(|(_, identity)| *identity).collect();
        let own = work.iter().filter(|one| (one.target, one.class) == (target, class));
        let opened: Vec<_> = own.filter_map(|one| Some((one, open(one.root, &one.path)?))).collect();
        let paths: Vec<_> = opened.iter().map(|(_, directory)| open::self_fd(directory)).collect();
        usage.insert((target, class), usage::measure(&paths, &others));
        let closed: Vec<_> = opened.into_iter().map(|(one, directory)| (one, mounts::number_of(&directory))).collect();
        for (one, number) in closed {
            if let Some(mount) = number.and_then(|number| mounts::numbered(number, one.root)) {
                mounts.insert((target, class, one.path.clone()), mount);
            }
        }
    }
    (usage, mounts)
}

fn open(root: Root, path: &Path) -> Option<OwnedFd> {
    open::locate(root, path).ok().and_then(|Located { directory, .. }| directory)
}

fn identity(directory: &OwnedFd) -> Option<Identity> {
    let stat = std::fs::metadata(open::self_fd(directory)).ok()?;
    Some((stat.dev(), stat.ino()))
}
