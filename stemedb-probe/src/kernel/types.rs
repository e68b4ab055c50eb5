//! What the type information says of tracepoints, functions, helpers and constants. Arguments have changed from kernel to
//! kernel, and a program that takes one for another would count wrong numbers: each is checked before it is relied on.

use super::hooks::{Arg, Point};
use super::members;
use super::typeinfo::{self, Type, TypeInfo};

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
/// `PG_writeback` of `enum pageflags`: the bit of a folio that is being written.
pub const FOLIO_WRITEBACK: (&str, &str) = ("pageflags", "PG_writeback");
/// `REQ_PREFLUSH` and `REQ_FUA`: bits of `request.cmd_flags`.
pub const PREFLUSH: (&str, &str) = ("req_flag_bits", "__REQ_PREFLUSH");
/// See [`PREFLUSH`].
pub const FUA: (&str, &str) = ("req_flag_bits", "__REQ_FUA");
/// `REQ_SWAP`, since 4.20: a bit of `bio.bi_opf`.
pub const SWAP: (&str, &str) = ("req_flag_bits", "__REQ_SWAP");
/// `RQF_FLUSH_SEQ`: a bit of `request.rq_flags`. Its `enum` has got a name after 6.12; before 6.10 or so it was a macro, not in
/// the type information, for bit [`FLUSH_SEQUENCE_BEFORE`].
pub const FLUSH_SEQUENCE: [(&str, &str); 2] = [("rqf_flags", "__RQF_FLUSH_SEQ"), ("", "__RQF_FLUSH_SEQ")];
/// See [`FLUSH_SEQUENCE`].
pub const FLUSH_SEQUENCE_BEFORE: u32 = 4;
/// Every constant that is asked for, beside the helpers.
pub const CONSTANTS: &[(&str, &str)] =
    &[FOLIO_HEAD, FOLIO_WRITEBACK, PREFLUSH, FUA, SWAP, FLUSH_SEQUENCE[0], FLUSH_SEQUENCE[1]];

/// The types of one kernel.
pub struct KernelTypes {
    types: TypeInfo,
    /// Ids of functions and of the `typedef`s of tracepoints (`btf_trace_NAME`), in the order of their names.
    points: Vec<u32>,
}

/// How a point is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tracepoint: it may have more arguments than are relied on.
    Tracepoint,
    /// A function: its result comes after the last argument, so their number must be right.
    Function,
}

/// Lets a program load from any address.
pub const CAST: &str = "bpf_rdonly_cast";
/// A structure that begins with an integer of eight bytes: `{ time64_t tv_sec; long tv_nsec; }` (include/linux/time64.h).
pub const INTEGERS: &str = "timespec64";

/// See [`KernelTypes::cast`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    /// Id of the function.
    pub function: u32,
    /// Id of the structure.
    pub to: u32,
}

impl KernelTypes {
    /// Makes an index of what can be hooked.
    #[must_use]
    pub fn new(types: TypeInfo) -> Self {
        let is_point = |found: &Type<'_>| match found.kind {
            typeinfo::Kind::Func => true,
            typeinfo::Kind::Typedef => found.name().is_some_and(|name| name.starts_with("btf_trace_")),
            _ => false,
        };
        let mut points: Vec<_> = types.iter().filter(|(_, found)| is_point(found)).collect();
        points.sort_by_cached_key(|(_, found)| found.name());
        let points = points.into_iter().map(|(id, _)| id).collect();
        Self { types, points }
    }

    /// The function, or the `typedef` of a tracepoint, of that name.
    fn point(&self, name: &str) -> Option<Type<'_>> {
        let place = self.points.partition_point(|id| self.name(*id) < Some(name));
        let found = self.types.get(*self.points.get(place)?)?;
        (found.name() == Some(name)).then_some(found)
    }

    fn name(&self, id: u32) -> Option<&str> {
        self.types.get(id)?.name()
    }

    /// Whether the kernel has this function.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.point(name).is_some()
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
        let found = self.point(&key).and_then(|found| self.arguments(found, kind));
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

    /// The function `bpf_rdonly_cast` and a structure that begins with an integer of eight bytes, by their ids; from 6.2 on.
    #[must_use]
    pub fn cast(&self) -> Option<Cast> {
        let id = |kind, name| self.types.iter().find(|(_, found)| found.kind == kind && found.name() == Some(name));
        let function = id(typeinfo::Kind::Func, CAST)?.0;
        Some(Cast { function, to: id(typeinfo::Kind::Struct, INTEGERS)?.0 })
    }

    /// The value of a constant of an `enum`; one without a name is known by an empty one.
    #[must_use]
    pub fn constant(&self, (of, name): (&str, &str)) -> Option<u32> {
        let enums = self.types.iter().filter(|(_, found)| found.kind == typeinfo::Kind::Enum);
        let mut ours = enums.filter(|(_, found)| found.name().unwrap_or_default() == of);
        ours.find_map(|(_, found)| found.values().find(|(value, _)| *value == Some(name)).map(|(_, value)| value))
    }

    /// The types of the arguments; a tracepoint's first one is its private data, which programs do not see.
    fn arguments(&self, found: Type<'_>, kind: Kind) -> Option<Vec<u32>> {
        let prototype = match found.kind {
            typeinfo::Kind::Func => found.refers,
            _ => self.bare(found.refers).filter(|to| to.kind == typeinfo::Kind::Ptr)?.refers,
        };
        let prototype = self.types.get(prototype).filter(|to| to.kind == typeinfo::Kind::FuncProto)?;
        Some(prototype.parameters().skip(usize::from(kind == Kind::Tracepoint)).collect())
    }

    fn is(&self, id: u32, argument: Arg) -> bool {
        use typeinfo::Kind::{Enum, Int, Ptr, Struct};
        let Some(found) = self.bare(id) else { return argument == Arg::Any };
        match argument {
            Arg::Any => true,
            Arg::Integer => matches!(found.kind, Int | Enum),
            Arg::Wide => matches!(found.kind, Int | Enum) && found.refers >= 4,
            Arg::To(name) => {
                let to = (found.kind == Ptr).then(|| self.bare(found.refers)).flatten();
                to.is_some_and(|to| to.kind == Struct && to.name() == Some(name))
            }
        }
    }

    fn bare(&self, id: u32) -> Option<Type<'_>> {
        members::bare(&self.types, id).map(|(_, found)| found)
    }

    /// The number of the bit that marks a step of a flush.
    #[must_use]
    pub fn flush_sequence(&self) -> u32 {
        FLUSH_SEQUENCE.iter().find_map(|one| self.constant(*one)).unwrap_or(FLUSH_SEQUENCE_BEFORE)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &TypeInfo {
        &self.types
    }
}
