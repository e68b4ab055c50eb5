//! The way to a member of a structure, also in damaged information, where a type may contain itself.

use std::collections::HashSet;

use super::typeinfo::{Kind, Type, TypeInfo};

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
pub fn way(types: &TypeInfo, id: u32, path: &str) -> Option<Vec<Step>> {
    let names: Vec<&str> = path.split('.').collect();
    let mut steps = search(types, id, &names, &mut HashSet::new(), MAX_DEPTH)?;
    steps.reverse();
    Some(steps)
}

/// The last step comes first. `seen` holds what has been searched in vain, by type and names left.
fn search(
    types: &TypeInfo,
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
    for (index, member) in found.members().enumerate() {
        let left = match member.name {
            None => names,
            Some(name) if name == *first => rest,
            Some(_) => continue,
        };
        if let Some(offset) = member.offset
            && let Some(mut steps) = search(types, member.of, left, seen, depth - 1)
        {
            steps.push(Step { of, member: index, offset });
            return Some(steps);
        }
    }
    None
}

/// A type without its names and qualifiers, and its id; nothing where it is `void`.
#[must_use]
pub fn bare(types: &TypeInfo, mut id: u32) -> Option<(u32, Type<'_>)> {
    // A chain of them is short; a circle in broken type information must end, too.
    for _ in 0..MAX_DEPTH {
        let found = types.get(id)?;
        match behind(found) {
            Some(next) => id = next,
            None => return Some((id, found)),
        }
    }
    None
}

/// The type that a name or a qualifier stands for.
#[must_use]
pub fn behind(found: Type<'_>) -> Option<u32> {
    use Kind::{Const, Restrict, TypeTag, Typedef, Volatile};
    matches!(found.kind, Typedef | Const | Volatile | Restrict | TypeTag).then_some(found.refers)
}
