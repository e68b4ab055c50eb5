//! Which class a file has. The kernel side decides by directory inodes and names; this tells it which, follows
//! directories that come and go, and measures what is in them.

pub mod directories;
pub mod discover;
pub mod open;
pub mod overlay;
pub mod plan;
pub mod table;
pub mod usage;

use stemedb_ebpf::glob::Automaton;
use stemedb_ebpf::{ClassRule, MAX_TARGETS};

use directories::{Origin, Spec};
use plan::Named;

use crate::config::{Config, FilePattern};
use crate::kernel::{Kernel, KernelError};

/// Puts the rules for file names into the kernel.
pub fn install_names(kernel: &mut Kernel, config: &Config) -> Result<(), KernelError> {
    kernel.fill("CLASS_RULES", &name_rules(config))
}

/// The rules for file names, in the order of the configuration.
#[must_use]
pub fn name_rules(config: &Config) -> Vec<ClassRule> {
    let rules = numbered(config).into_iter();
    rules
        .filter_map(|(target, class, pattern)| match pattern {
            FilePattern::Name(glob) => Some(ClassRule { glob: Automaton::new(glob).ok()?, target, class }),
            _ => None,
        })
        .collect()
}

/// The classes that are known by the name of a directory.
#[must_use]
pub fn named_directories(config: &Config) -> Vec<Named> {
    let rules = numbered(config).into_iter();
    rules
        .filter_map(|(target, class, pattern)| match pattern {
            FilePattern::Anywhere(name) => Some(Named { target, class, name: name.clone() }),
            _ => None,
        })
        .collect()
}

/// One bit for each target that has such classes.
#[must_use]
pub fn with_named_directories(config: &Config) -> [u64; MAX_TARGETS / 64] {
    let mut bits = [0; MAX_TARGETS / 64];
    for named in named_directories(config) {
        bits[named.target as usize / 64] |= 1 << (named.target % 64);
    }
    bits
}

/// The directories that the configuration names by their paths, each once.
#[must_use]
pub fn configured_directories(config: &Config) -> Vec<Spec> {
    let mut specs = Vec::new();
    for (target, class, pattern) in numbered(config) {
        if let FilePattern::Directory(path) = pattern {
            let spec = Spec { target, class, path: path.clone(), origin: Origin::Configured };
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
    }
    specs
}

/// Every rule for files, with the numbers of its target and its class.
fn numbered(config: &Config) -> Vec<(u32, u32, &FilePattern)> {
    let classes = config.classes();
    let number = |class: &String| classes.iter().position(|other| other == class).and_then(|n| u32::try_from(n).ok());
    let targets = (0_u32..).zip(&config.targets);
    targets
        .flat_map(|(target, patterns)| patterns.files.iter().map(move |(class, pattern)| (target, class, pattern)))
        .filter_map(|(target, class, pattern)| Some((target, number(class)?, pattern)))
        .collect()
}
