//! Which class a file has. The kernel side decides by directory inodes and names; this tells it which, follows
//! directories that come and go, and measures what is in them.

pub mod directories;
pub mod discover;
pub mod open;
pub mod overlay;
pub mod plan;
pub mod usage;

use stemedb_ebpf::ClassRule;
use stemedb_ebpf::glob::Automaton;

use crate::config::{Config, FilePattern};
use crate::kernel::{Kernel, KernelError};

/// Puts the rules for file names into the kernel.
pub fn install_names(kernel: &mut Kernel, config: &Config) -> Result<(), KernelError> {
    kernel.fill("CLASS_RULES", &name_rules(config))
}

/// The rules for file names, in the order of the configuration.
#[must_use]
pub fn name_rules(config: &Config) -> Vec<ClassRule> {
    let classes = config.classes();
    let number = |class: &String| classes.iter().position(|other| other == class).and_then(|n| u32::try_from(n).ok());
    let mut rules = Vec::new();
    for (target, patterns) in (0_u32..).zip(&config.targets) {
        for (class, pattern) in &patterns.files {
            if let FilePattern::Name(glob) = pattern
                && let (Ok(glob), Some(class)) = (Automaton::new(glob), number(class))
            {
                rules.push(ClassRule { glob, target, class });
            }
        }
    }
    rules
}
