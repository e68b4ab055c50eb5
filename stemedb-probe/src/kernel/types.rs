//! What the type information says of tracepoints, functions, helpers and constants. Arguments have changed from kernel to
//! kernel, and a program that takes one for another would count wrong numbers: each is checked before it is relied on.

use std::collections::HashMap;

use btfparse::{Integer32Value, TypeInformation, TypeVariant};

use super::hooks::{Arg, Point};
use super::members;

/// The `enum` of the helpers that a kernel was built with.
pub const HELPERS: &str = "bpf_func_id";

/// The constant of a helper in [`HELPERS`].
#[must_use]
pub fn helper(name: &str) -> String {
    format!("BPF_FUNC_{name}")
}

/// The name of the `typedef` that a tracepoint's arguments are known by.
#[must_use]
pub fn tracepoint(name: &str) -> String {
    format!("btf_trace_{name}")
}

/// `PG_head` of `enum pageflags`: the bit of a folio of several pages.
pub const FOLIO_HEAD: (&str, &str) = ("pageflags", "PG_head");

/// The types of one kernel.
pub struct KernelTypes {
    types: TypeInformation,
    /// `typedef`s of tracepoints (`btf_trace_NAME`) and functions, by name.
    points: HashMap<String, u32>,
}

/// How a point is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tracepoint: it may have more arguments than are relied on.
    Tracepoint,
    /// A function: its result comes after the last argument, so their number must be right.
    Function,
}

impl KernelTypes {
    /// Makes an index of what can be hooked.
    #[must_use]
    pub fn new(types: TypeInformation) -> Self {
        let mut points = HashMap::new();
        for (id, variant) in types.get() {
            let name = match variant {
                TypeVariant::Func(function) => function.name().clone(),
                TypeVariant::Typedef(named) => named.name().clone().filter(|name| name.starts_with("btf_trace_")),
                _ => None,
            };
            if let Some(name) = name {
                points.insert(name, *id);
            }
        }
        Self { types, points }
    }

    /// Whether the kernel has this function.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.points.contains_key(name)
    }

    /// Whether this kernel has the point with these arguments; if not, why.
    pub fn check(&self, kind: Kind, point: &Point) -> Result<(), String> {
        self.check_arguments(kind, point.name, point.args)
    }

    /// The same for a function by its name.
    pub fn check_function(&self, name: &str, args: &[Arg]) -> Result<(), String> {
        self.check_arguments(Kind::Function, name, args)
    }

    fn check_arguments(&self, kind: Kind, name: &str, args: &[Arg]) -> Result<(), String> {
        let (what, key) = match kind {
            Kind::Tracepoint => ("tracepoint", tracepoint(name)),
            Kind::Function => ("function", name.to_owned()),
        };
        let found = self.points.get(&key).and_then(|id| self.arguments(*id, kind));
        let Some(found) = found else { return Err(format!("this kernel has no {what} {name}")) };
        let wrong_count = match kind {
            Kind::Tracepoint => found.len() < args.len(),
            Kind::Function => found.len() != args.len(),
        };
        if wrong_count {
            return Err(format!("{what} {name} has {} arguments here, not {}", found.len(), args.len()));
        }
        for (n, (argument, id)) in args.iter().zip(found).enumerate() {
            if !self.is(id, *argument) {
                return Err(format!("argument {n} of {what} {name} is not {argument} here"));
            }
        }
        Ok(())
    }

    /// Whether this kernel has the helper `bpf_NAME`.
    #[must_use]
    pub fn has_helper(&self, name: &str) -> bool {
        self.constant((HELPERS, &helper(name))).is_some()
    }

    /// The value of a constant of an `enum`.
    #[must_use]
    pub fn constant(&self, (of, name): (&str, &str)) -> Option<u32> {
        self.types.get().values().find_map(|variant| match variant {
            TypeVariant::Enum(found) if found.name().as_deref() == Some(of) => {
                let value = found.named_value_list().iter().find(|value| value.name == name)?;
                match value.value {
                    Integer32Value::Signed(value) => u32::try_from(value).ok(),
                    Integer32Value::Unsigned(value) => Some(value),
                }
            }
            _ => None,
        })
    }

    /// The types of the arguments; a tracepoint's first one is its private data, which programs do not see.
    fn arguments(&self, id: u32, kind: Kind) -> Option<Vec<u32>> {
        let prototype = match self.types.get().get(&id)? {
            TypeVariant::Func(function) => *function.prototype_tid(),
            TypeVariant::Typedef(named) => match self.bare(*named.tid())? {
                TypeVariant::Ptr(pointer) => *pointer.tid(),
                _ => return None,
            },
            _ => return None,
        };
        let TypeVariant::FuncProto(prototype) = self.types.get().get(&prototype)? else { return None };
        let hidden = usize::from(kind == Kind::Tracepoint);
        let mut out = Vec::new();
        for parameter in prototype.parameter_list().iter().skip(hidden) {
            out.push(parameter.tid());
        }
        Some(out)
    }

    fn is(&self, id: u32, argument: Arg) -> bool {
        match argument {
            Arg::Any => true,
            Arg::Integer => matches!(self.bare(id), Some(TypeVariant::Int(_) | TypeVariant::Enum(_))),
            Arg::To(name) => match self.bare(id) {
                Some(TypeVariant::Ptr(pointer)) => match self.bare(*pointer.tid()) {
                    Some(TypeVariant::Struct(found)) => found.name().as_deref() == Some(name),
                    _ => false,
                },
                _ => false,
            },
        }
    }

    fn bare(&self, id: u32) -> Option<&TypeVariant> {
        members::bare(&self.types, id).map(|(_, found)| found)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &TypeInformation {
        &self.types
    }
}
