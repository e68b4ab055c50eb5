//! The way to a member of a structure. The crate that reads type information has such a search, too; in damaged
//! information, where a type may contain itself, that one has no end.

use std::collections::HashSet;

use btfparse::{Offset, TypeInformation, TypeVariant};

/// Structures are not nested deeper than this.
const MAX_DEPTH: usize = 32;

/// One member on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The id of the structure or union.
    pub of: u32,
    /// The index of the member.
    pub member: usize,
    /// Where it begins, in bytes.
    pub offset: u32,
}

/// The way from a structure to a member, whose path has dots between the names; unions and structures without a name are
/// stepped through.
#[must_use]
pub fn way(types: &TypeInformation, id: u32, path: &str) -> Option<Vec<Step>> {
    let names: Vec<&str> = path.split('.').collect();
    let mut steps = search(types, id, &names, &mut HashSet::new(), MAX_DEPTH)?;
    steps.reverse();
    Some(steps)
}

/// The last step comes first. `seen` holds what has been searched in vain, by type and names left.
fn search(
    types: &TypeInformation,
    id: u32,
    names: &[&str],
    seen: &mut HashSet<(u32, usize)>,
    depth: usize,
) -> Option<Vec<Step>> {
    let Some((first, rest)) = names.split_first() else { return Some(Vec::new()) };
    let (of, found) = bare(types, id)?;
    if depth == 0 || !seen.insert((of, names.len())) {
        return None;
    }
    let members = match found {
        TypeVariant::Struct(found) => found.member_list(),
        TypeVariant::Union(found) => found.member_list(),
        _ => return None,
    };
    for (index, member) in members.iter().enumerate() {
        let left = match member.name() {
            None => names,
            Some(name) if name == *first => rest,
            Some(_) => continue,
        };
        if let Offset::ByteOffset(offset) = member.offset()
            && let Some(mut steps) = search(types, member.tid(), left, seen, depth - 1)
        {
            steps.push(Step { of, member: index, offset });
            return Some(steps);
        }
    }
    None
}

/// A type without its names and qualifiers, and its id; nothing where it is `void`.
#[must_use]
pub fn bare(types: &TypeInformation, mut id: u32) -> Option<(u32, &TypeVariant)> {
    // A chain of them is short; a circle in broken type information must end, too.
    for _ in 0..MAX_DEPTH {
        let found = types.get().get(&id)?;
        match behind(found) {
            Some(next) => id = next,
            None => return Some((id, found)),
        }
    }
    None
}

/// The type that a name or a qualifier stands for.
#[must_use]
pub fn behind(found: &TypeVariant) -> Option<u32> {
    match found {
        TypeVariant::Typedef(of) => Some(*of.tid()),
        TypeVariant::Const(of) => Some(*of.tid()),
        TypeVariant::Volatile(of) => Some(*of.tid()),
        TypeVariant::Restrict(of) => Some(*of.tid()),
        TypeVariant::TypeTag(of) => Some(*of.tid()),
        _ => None,
    }
}
