//! How a capability is had: its hooks, their programs, and what became of it on this kernel. The table itself is
//! [`super::capabilities`].

use serde::Serialize;
use stemedb_ebpf::offsets::Need;
use stemedb_ebpf::ops::Family;

/// How the hooks are chosen: the option `--hooks`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The best that this kernel allows, for each capability
    #[default]
    Auto,
    /// fentry for system calls, or an error
    Fentry,
    /// No fentry: what kernels get that refuse it
    Tracepoint,
    /// Raw tracepoints only: what kernels without BTF of their own get
    RawTracepoint,
}

/// What a program takes from an argument of its tracepoint or function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// A pointer to this structure.
    To(&'static str),
    /// An integer.
    Integer,
    /// An integer of four bytes or more.
    Wide,
    /// Nothing, or only an address.
    Any,
}

impl std::fmt::Display for Arg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::To(name) => write!(f, "a pointer to struct {name}"),
            Self::Integer => f.write_str("an integer"),
            Self::Wide => f.write_str("an integer of four bytes or more"),
            Self::Any => f.write_str("anything"),
        }
    }
}

/// A tracepoint or function of the kernel, and the arguments that a program relies on. They have changed more than
/// once, and the type information tells.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// Its first arguments; of a function all, because its result comes after the last.
    pub args: &'static [Arg],
}

/// Where a program is attached.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// To the first of these tracepoints that this kernel has.
    Tracepoint(&'static [Point]),
    /// To the begin of a function.
    Entry(Point),
    /// To the end of a function.
    Exit(Point),
    /// To the begin of the functions of all system calls of a family.
    SyscallEntry(Family),
    /// To their end.
    SyscallExit(Family),
    /// To the begin of the functions of their 32-bit variants, where there are any.
    CompatEntry(Family),
}

/// One program of a hook.
#[derive(Debug, Clone, Copy)]
pub struct Attach {
    /// Its name in the object.
    pub program: &'static str,
    /// Where it is attached.
    pub place: Place,
}

/// A way to get a capability.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// Its name for people and for the label `hook`, without the kind.
    pub name: &'static str,
    /// Its programs, in the order in which they are attached.
    pub programs: &'static [Attach],
    /// Fields that the programs follow beside the common ones.
    pub needs: &'static [Need],
    /// Helpers of the kernel that they call beside the common ones (`enum bpf_func_id`), and since when it has them.
    pub helpers: &'static [(&'static str, &'static str)],
    /// Whether it needs the kernel's own type information even as a tracepoint.
    pub typed: bool,
}

impl Hook {
    /// Whether it is attached to functions, not to tracepoints.
    #[must_use]
    pub fn is_fentry(&self) -> bool {
        self.programs.iter().any(|attach| !matches!(attach.place, Place::Tracepoint(_)))
    }
}

/// Something that the agent can or cannot see.
#[derive(Debug, Clone, Copy)]
pub struct Capability {
    /// Its name for people and for the label `capability`.
    pub name: &'static str,
    /// What it gives.
    pub gives: &'static str,
    /// What is lost without it.
    pub without: &'static str,
    /// Whether the agent is of no use without it.
    pub required: bool,
    /// Ways to get it, the best first.
    pub hooks: &'static [Hook],
}

/// What became of a capability on this kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// [`Capability::name`]
    pub capability: &'static str,
    /// The hook in use; `None` when the capability is off.
    pub hook: Option<String>,
    /// Why this one, or why none.
    pub why: String,
    /// What it gives.
    pub gives: &'static str,
    /// What is lost without it, when it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<&'static str>,
}

impl Verdict {
    /// The capability is there.
    #[must_use]
    pub fn on(capability: &Capability, hook: String, why: impl Into<String>) -> Self {
        Self { capability: capability.name, hook: Some(hook), why: why.into(), gives: capability.gives, without: None }
    }

    /// The capability is not there.
    #[must_use]
    pub fn off(capability: &Capability, why: impl Into<String>) -> Self {
        Self {
            capability: capability.name,
            hook: None,
            why: why.into(),
            gives: capability.gives,
            without: Some(capability.without),
        }
    }
}
