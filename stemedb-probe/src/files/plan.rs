//! What the kernel's two maps of class directories should hold, given where the directories are. Pure.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use stemedb_ebpf::{ANYWHERE, CHILD_NAME, ChildEntry, ChildKey, DirEntry, NO_CLASS, Resolved};

/// A directory of the configuration, located.
#[derive(Debug, Clone)]
pub struct Place {
    /// Index of the target.
    pub target: u32,
    /// Number of the class.
    pub class: u32,
    /// The directory, when it exists.
    pub directory: Option<Resolved>,
    /// What is above it, and the names from there down to it.
    pub anchor: Option<(Resolved, Vec<OsString>)>,
}

/// A class by the name of a directory, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Index of the target.
    pub target: u32,
    /// Number of the class.
    pub class: u32,
    /// The directory's name.
    pub name: String,
}

/// The numbers by which [`ChildKey::parent`] stands for a directory that does not exist yet. They stay the same from plan to
/// plan, so that applying one never breaks what is being looked up.
#[derive(Debug, Default)]
pub struct Numbers(HashMap<(u64, u32, OsString), u32>);

impl Numbers {
    fn of(&mut self, parent: u64, target: u32, name: &OsString) -> u32 {
        let next = u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX);
        *self.0.entry((parent, target, name.clone())).or_insert(next)
    }
}

/// By what a directory is known for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirKey {
    /// Address of its inode.
    pub inode: u64,
    /// Index of the target.
    pub target: u32,
}

/// What the maps should hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// `DIRS`
    pub dirs: HashMap<DirKey, DirEntry>,
    /// `CHILDREN`
    pub children: HashMap<ChildKey, ChildEntry>,
}

impl Plan {
    /// Makes the plan for all places and names together.
    #[must_use]
    pub fn new(places: &[Place], named: &[Named], numbers: &mut Numbers) -> Self {
        let mut plan = Self::default();
        for Named { target, class, name } in named {
            let entry = ChildEntry { class: *class, below: 0 };
            plan.children.entry(child(ANYWHERE, *target, name.as_bytes())).or_insert(entry);
        }
        for place in places {
            if let Some(directory) = &place.directory {
                plan.entry(directory, place.target).class = place.class;
            }
            if let Some((anchor, names)) = &place.anchor {
                plan.entry(anchor, place.target).children = 1;
                plan.add_names(anchor.inode, names, place, numbers);
            }
        }
        plan
    }

    fn entry(&mut self, directory: &Resolved, target: u32) -> &mut DirEntry {
        self.dirs.entry(DirKey { inode: directory.inode, target }).or_insert(DirEntry {
            inode: directory.inode,
            ino: directory.ino,
            generation: directory.generation,
            target,
            class: NO_CLASS,
            children: 0,
        })
    }

    fn add_names(&mut self, mut parent: u64, names: &[OsString], place: &Place, numbers: &mut Numbers) {
        for (i, name) in names.iter().enumerate() {
            let key = child(parent, place.target, name.as_bytes());
            let entry = self.children.entry(key).or_insert(ChildEntry { class: NO_CLASS, below: 0 });
            if i + 1 == names.len() {
                entry.class = place.class;
            } else {
                entry.below = numbers.of(parent, place.target, name);
                parent = u64::from(entry.below);
            }
        }
    }
}

/// The key of a name that is known to be shorter than [`CHILD_NAME`].
fn child(parent: u64, target: u32, name: &[u8]) -> ChildKey {
    let mut key = ChildKey { parent, target, zero: 0, name: [0; CHILD_NAME] };
    key.name[..name.len()].copy_from_slice(name);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(inode: u64) -> Resolved {
        Resolved { inode, ino: inode, ..Resolved::default() }
    }

    fn key(inode: u64) -> DirKey {
        DirKey { inode, target: 0 }
    }

    #[test]
    fn siblings_share_their_parent_and_a_class_may_be_inside_another() {
        let data = at(100);
        let place = |class, inode, name: &str| Place {
            target: 0,
            class,
            directory: Some(at(inode)),
            anchor: Some((data, vec![name.into()])),
        };
        let store = Place { target: 0, class: 2, directory: Some(data), anchor: Some((at(1), vec!["data".into()])) };
        let plan = Plan::new(&[place(1, 101, "wal"), place(3, 102, "index"), store], &[], &mut Numbers::default());
        assert_eq!((plan.dirs[&key(100)].class, plan.dirs[&key(100)].children), (2, 1));
        assert_eq!((plan.dirs[&key(1)].class, plan.dirs[&key(1)].children), (NO_CLASS, 1));
        assert_eq!(plan.dirs[&key(101)].class, 1);
        assert_eq!(plan.children.len(), 3);
    }

    #[test]
    fn missing_directories_form_a_chain_whose_numbers_stay() {
        let place = Place { target: 0, class: 1, directory: None, anchor: Some((at(7), vec!["a".into(), "b".into()])) };
        let mut numbers = Numbers::default();
        let plan = Plan::new(std::slice::from_ref(&place), &[], &mut numbers);
        let below: Vec<u32> = plan.children.values().map(|entry| entry.below).filter(|below| *below != 0).collect();
        assert_eq!(below.len(), 1);
        assert!(plan.children.iter().any(|(key, entry)| key.parent == u64::from(below[0]) && entry.class == 1));
        assert_eq!(Plan::new(&[place], &[], &mut numbers), plan);
    }

    #[test]
    fn a_name_is_below_no_directory_and_the_first_of_two_counts() {
        let named = [1, 2].map(|class| Named { target: 3, class, name: "pg_wal".to_owned() });
        let plan = Plan::new(&[], &named, &mut Numbers::default());
        assert_eq!(plan.dirs.len(), 0);
        assert_eq!(plan.children[&child(ANYWHERE, 3, b"pg_wal")], ChildEntry { class: 1, below: 0 });
    }
}
