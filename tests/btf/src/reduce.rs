//! Reduces the type information of a kernel from some megabytes to some kilobytes: to what the agent asks, and what that
//! needs. Members that nobody asks for are left out, and offsets stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use btfparse::{Integer32Value, Member, TypeInformation, TypeVariant};
use stemedb_probe::kernel::btf;
use stemedb_probe::kernel::members::{self, behind};

use crate::asked::Asked;
use crate::encode::{Encoder, Kind};

/// The type information of a kernel without what the agent does not ask.
#[must_use]
pub fn reduce(types: &TypeInformation, asked: &Asked) -> Vec<u8> {
    let mut kept = Kept { types, asked, all: BTreeSet::new(), members: BTreeMap::new() };
    kept.choose();
    kept.encode()
}

struct Kept<'t> {
    types: &'t TypeInformation,
    asked: &'t Asked,
    /// Ids of types.
    all: BTreeSet<u32>,
    /// Members of structures and unions, and whether their type is asked for, too.
    members: BTreeMap<u32, BTreeMap<usize, bool>>,
}

impl Kept<'_> {
    fn choose(&mut self) {
        let structs = btf::struct_ids(self.types);
        self.all.extend(structs.values().flatten());
        for (of, path) in &self.asked.members {
            for id in structs.get(of).into_iter().flatten() {
                self.keep_way(*id, path);
            }
        }
        for (id, found) in self.types.get() {
            let asked = match found {
                TypeVariant::Typedef(named) => is_in(named.name().as_ref(), |name| self.asked.typedefs.contains(name)),
                TypeVariant::Func(named) => self.asked.functions.contains(named.name().as_deref().unwrap_or_default()),
                TypeVariant::Enum(named) => is_in(named.name().as_ref(), |name| self.constants(name).next().is_some()),
                _ => false,
            };
            if asked {
                self.keep(*id);
            }
        }
    }

    fn constants<'s>(&'s self, of: &'s str) -> impl Iterator<Item = &'s str> {
        self.asked.constants.iter().filter(move |(asked, _)| *asked == of).map(|(_, name)| name.as_str())
    }

    fn keep_way(&mut self, id: u32, path: &str) {
        let way = members::way(self.types, id, path).unwrap_or_default();
        for (index, step) in way.iter().enumerate() {
            let leads_on = index + 1 < way.len();
            *self.members.entry(step.of).or_default().entry(step.member).or_default() |= leads_on;
            self.all.insert(step.of);
            if leads_on && let Some(member) = self.list(step.of).get(step.member) {
                let next = member.tid();
                self.keep(next);
            }
        }
    }

    /// Keeps a type, and what it refers to; of structures only what has been asked for.
    fn keep(&mut self, id: u32) {
        if id == 0 || !self.all.insert(id) {
            return;
        }
        let Some(found) = self.types.get().get(&id) else { return };
        match found {
            TypeVariant::Ptr(pointer) => self.keep(*pointer.tid()),
            TypeVariant::Array(array) => self.keep(*array.element_tid()),
            TypeVariant::Func(function) => self.keep(*function.prototype_tid()),
            TypeVariant::FuncProto(prototype) => {
                for parameter in prototype.parameter_list() {
                    self.keep(parameter.tid());
                }
            }
            other => {
                if let Some(next) = behind(other) {
                    self.keep(next);
                }
            }
        }
    }

    fn list(&self, id: u32) -> &[Member] {
        match self.types.get().get(&id) {
            Some(TypeVariant::Struct(found)) => found.member_list(),
            Some(TypeVariant::Union(found)) => found.member_list(),
            _ => &[],
        }
    }

    /// In the order of the whole: where a name stands for several types, it decides which one is taken.
    fn encode(&self) -> Vec<u8> {
        let new: BTreeMap<u32, u32> = self.all.iter().copied().zip(1..).collect();
        let mut out = Encoder::default();
        for id in &self.all {
            if let Some(found) = self.types.get().get(id) {
                self.encode_one(&mut out, *id, found, |old| new.get(&old).copied().unwrap_or(0));
            }
        }
        out.finish()
    }

    fn encode_one(&self, out: &mut Encoder, id: u32, found: &TypeVariant, new: impl Fn(u32) -> u32) {
        const NOTHING: &[[u32; 0]] = &[];
        let text = |name: &Option<String>| name.clone().unwrap_or_default();
        match found {
            TypeVariant::Int(int) => {
                let bits = size(*int.size()) * 8;
                out.add(Kind::Int, &text(int.name()), size(*int.size()), &[[u32::from(*int.signed()) << 24 | bits]]);
            }
            TypeVariant::Float(float) => out.add(Kind::Float, &text(float.name()), size(*float.size()), NOTHING),
            TypeVariant::Fwd(named) => out.add(Kind::Fwd, &text(named.name()), 0, NOTHING),
            TypeVariant::Typedef(of) => out.add(Kind::Typedef, &text(of.name()), new(*of.tid()), NOTHING),
            TypeVariant::TypeTag(of) => out.add(Kind::TypeTag, &text(of.name()), new(*of.tid()), NOTHING),
            TypeVariant::Const(of) => out.add(Kind::Const, "", new(*of.tid()), NOTHING),
            TypeVariant::Volatile(of) => out.add(Kind::Volatile, "", new(*of.tid()), NOTHING),
            TypeVariant::Restrict(of) => out.add(Kind::Restrict, "", new(*of.tid()), NOTHING),
            TypeVariant::Ptr(of) => out.add(Kind::Ptr, "", new(*of.tid()), NOTHING),
            TypeVariant::Array(of) => {
                out.add(Kind::Array, "", 0, &[[new(*of.element_tid()), 0, *of.element_count()]]);
            }
            TypeVariant::Struct(of) => {
                let members = self.members(out, id, new);
                out.add(Kind::Struct, &text(of.name()), size(*of.size()), &members);
            }
            TypeVariant::Union(of) => {
                let members = self.members(out, id, new);
                out.add(Kind::Union, &text(of.name()), size(*of.size()), &members);
            }
            TypeVariant::Enum(of) => {
                let name = text(of.name());
                let asked = |value: &&btfparse::NamedValue32| self.constants(&name).any(|name| name == value.name);
                let values = of.named_value_list().iter().filter(asked);
                let values: Vec<_> = values.map(|value| [out.name(&value.name), bits(value.value)]).collect();
                out.add(Kind::Enum, &name, size(*of.size()), &values);
            }
            TypeVariant::Enum64(of) => out.add(Kind::Enum64, &text(of.name()), size(*of.size()), NOTHING),
            TypeVariant::Func(of) => {
                out.add(Kind::Func, of.name().as_deref().unwrap_or_default(), new(*of.prototype_tid()), NOTHING);
            }
            TypeVariant::FuncProto(of) => {
                let parameters: Vec<_> = of.parameter_list().iter().map(|one| [0, new(one.tid())]).collect();
                out.add(Kind::FuncProto, "", 0, &parameters);
            }
            // Nothing refers to these.
            TypeVariant::Void | TypeVariant::Var(_) | TypeVariant::DataSec(_) | TypeVariant::DeclTag(_) => {
                out.add(Kind::Fwd, "", 0, NOTHING);
            }
        }
    }

    fn members(&self, out: &mut Encoder, id: u32, new: impl Fn(u32) -> u32) -> Vec<[u32; 3]> {
        let list = self.list(id);
        let kept = self.members.get(&id).into_iter().flatten();
        let mut members = Vec::new();
        for (index, leads_on) in kept {
            if let Some(member) = list.get(*index)
                && let btfparse::Offset::ByteOffset(offset) = member.offset()
            {
                let of = if *leads_on { new(member.tid()) } else { 0 };
                members.push([out.name(&member.name().unwrap_or_default()), of, offset * 8]);
            }
        }
        members
    }
}

fn is_in(name: Option<&String>, asked: impl Fn(&str) -> bool) -> bool {
    name.is_some_and(|name| asked(name))
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn bits(value: Integer32Value) -> u32 {
    match value {
        Integer32Value::Signed(value) => value.cast_unsigned(),
        Integer32Value::Unsigned(value) => value,
    }
}
