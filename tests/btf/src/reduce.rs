//! Reduces the type information of a kernel from some megabytes to some kilobytes: to what the agent asks, and what that
//! needs. Members that nobody asks for are left out, and offsets stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use stemedb_probe::kernel::btf;
use stemedb_probe::kernel::members::{self, behind};
use stemedb_probe::kernel::typeinfo::{Type, TypeInfo};

use crate::asked::Asked;
use crate::encode::{Encoder, Kind};

/// The type information of a kernel without what the agent does not ask.
#[must_use]
pub fn reduce(types: &TypeInfo, asked: &Asked) -> Vec<u8> {
    let mut kept = Kept { types, asked, all: BTreeSet::new(), members: BTreeMap::new() };
    kept.choose();
    kept.encode()
}

struct Kept<'t> {
    types: &'t TypeInfo,
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
        for (id, found) in self.types.iter() {
            let name = found.name().unwrap_or_default();
            let asked = match found.kind {
                Kind::Struct => self.asked.structs.contains(name),
                Kind::Typedef => self.asked.typedefs.contains(name),
                Kind::Func => self.asked.functions.contains(name),
                Kind::Enum => found.values().any(|(value, _)| self.constants(name).any(|one| Some(one) == value)),
                _ => false,
            };
            if asked {
                self.keep(id);
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
            let member = self.types.get(step.of).and_then(|of| of.members().nth(step.member));
            if leads_on && let Some(member) = member {
                self.keep(member.of);
            }
        }
    }

    /// Keeps a type, and what it refers to; of structures only what has been asked for.
    fn keep(&mut self, id: u32) {
        if id == 0 || !self.all.insert(id) {
            return;
        }
        let Some(found) = self.types.get(id) else { return };
        match found.kind {
            Kind::Ptr | Kind::Func => self.keep(found.refers),
            Kind::Array => found.element().into_iter().for_each(|element| self.keep(element)),
            Kind::FuncProto => found.parameters().for_each(|parameter| self.keep(parameter)),
            _ => behind(found).into_iter().for_each(|next| self.keep(next)),
        }
    }

    /// In the order of the whole: where a name stands for several types, it decides which one is taken.
    fn encode(&self) -> Vec<u8> {
        let new: BTreeMap<u32, u32> = self.all.iter().copied().zip(1..).collect();
        let mut out = Encoder::default();
        for id in &self.all {
            if let Some(found) = self.types.get(*id) {
                self.encode_one(&mut out, *id, found, |old| new.get(&old).copied().unwrap_or(0));
            }
        }
        out.finish()
    }

    fn encode_one(&self, out: &mut Encoder, id: u32, found: Type<'_>, new: impl Fn(u32) -> u32) {
        const NOTHING: &[[u32; 0]] = &[];
        let name = found.name().unwrap_or_default();
        match found.kind {
            Kind::Int => out.add(found.kind, name, found.refers, &found.rows([Kind::Int]).collect::<Vec<[u32; 1]>>()),
            Kind::Float | Kind::Fwd | Kind::Enum64 => out.add(found.kind, name, found.refers, NOTHING),
            Kind::Array => {
                let rows = found.rows([Kind::Array]).map(|[of, _, count]| [new(of), 0, count]);
                out.add(found.kind, name, 0, &rows.collect::<Vec<_>>());
            }
            Kind::Struct | Kind::Union => {
                let members = self.members(out, id, found, new);
                out.add(found.kind, name, found.refers, &members);
            }
            Kind::Enum => {
                let asked = |value: &str| self.constants(name).any(|name| name == value);
                let values = found.values().filter_map(|(name, value)| Some((name?, value)));
                let values = values.filter(|(name, _)| asked(name));
                let values: Vec<_> = values.map(|(name, value)| [out.name(name), value]).collect();
                out.add(found.kind, name, found.refers, &values);
            }
            Kind::FuncProto => {
                let parameters: Vec<_> = found.parameters().map(|one| [0, new(one)]).collect();
                out.add(found.kind, name, 0, &parameters);
            }
            // Nothing refers to these.
            Kind::Var | Kind::DataSec | Kind::DeclTag => out.add(Kind::Fwd, "", 0, NOTHING),
            _ => out.add(found.kind, name, new(found.refers), NOTHING),
        }
    }

    fn members(&self, out: &mut Encoder, id: u32, found: Type<'_>, new: impl Fn(u32) -> u32) -> Vec<[u32; 3]> {
        let Some(kept) = self.members.get(&id) else { return Vec::new() };
        let mut members = Vec::new();
        for (index, member) in found.members().enumerate() {
            if let Some(leads_on) = kept.get(&index)
                && let Some(offset) = member.offset
            {
                let of = if *leads_on { new(member.of) } else { 0 };
                members.push([out.name(member.name.unwrap_or_default()), of, offset * 8]);
            }
        }
        members
    }
}
