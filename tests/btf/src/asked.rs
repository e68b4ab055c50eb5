//! What the agent asks of type information, from its own tables.

use std::collections::BTreeSet;

use stemedb_ebpf::offsets::FIELDS;
use stemedb_ebpf::ops::Family;
use stemedb_probe::kernel::CAPABILITIES;
use stemedb_probe::kernel::hooks::Place;
use stemedb_probe::kernel::syscalls::{self, Arch};
use stemedb_probe::kernel::types;

/// Everything that is looked up by name.
#[derive(Debug, Default)]
pub struct Asked {
    /// Members of structures: the structure and the path.
    pub members: BTreeSet<(&'static str, &'static str)>,
    /// Structures as such.
    pub structs: BTreeSet<&'static str>,
    /// Types of tracepoints.
    pub typedefs: BTreeSet<String>,
    /// Functions, of every architecture.
    pub functions: BTreeSet<String>,
    /// Constants: the `enum` and the name.
    pub constants: BTreeSet<(&'static str, String)>,
}

impl Asked {
    /// What this version asks.
    #[must_use]
    pub fn now() -> Self {
        let mut out = Self::default();
        out.members.extend(FIELDS.iter().flat_map(|field| field.members.iter().map(|member| (field.of, *member))));
        out.structs.insert(types::INTEGERS);
        out.functions.insert(types::CAST.to_owned());
        out.constants.extend(types::CONSTANTS.iter().map(|(of, name)| (*of, (*name).to_owned())));
        for hook in CAPABILITIES.iter().flat_map(|capability| capability.hooks) {
            out.constants.extend(hook.helpers.iter().map(|(name, _)| (types::HELPERS, types::helper(name))));
            for attach in hook.programs {
                out.add(attach.place);
            }
        }
        out
    }

    fn add(&mut self, place: Place) {
        const ALL: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];
        let calls = |family: Family| ALL.into_iter().flat_map(move |arch| syscalls::functions(arch, family));
        let compat = |family: Family| ALL.into_iter().flat_map(move |arch| syscalls::compat_functions(arch, family));
        match place {
            Place::Tracepoint(points) => self.typedefs.extend(points.iter().map(|point| types::tracepoint(point.name))),
            Place::Entry(point) | Place::Exit(point) => {
                self.functions.insert(point.name.to_owned());
            }
            Place::SyscallEntry(family) | Place::SyscallExit(family) => self.functions.extend(calls(family)),
            Place::CompatEntry(family) => self.functions.extend(compat(family).map(str::to_owned)),
        }
    }

    /// One a line. A fixture that was made for another list does not have what is asked now.
    #[must_use]
    pub fn text(&self) -> String {
        let members = self.members.iter().map(|(of, member)| format!("{of}.{member}\n"));
        let constants = self.constants.iter().map(|(of, name)| format!("{of} {name}\n"));
        let points = self.typedefs.iter().chain(&self.functions).map(|name| format!("{name}\n"));
        let structs = self.structs.iter().map(|name| format!("struct {name}\n"));
        members.chain(structs).chain(constants).chain(points).collect()
    }
}
