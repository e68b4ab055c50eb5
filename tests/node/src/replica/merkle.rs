//! A Merkle tree over all versions, by which two nodes find with few messages where they differ.
//!
//! A leaf stands for a bucket of keys and is the sum (XOR) of the hashes of their versions, so that a change costs two hashes; what is above is
//! the hash of the leaves below. The hash (XXH3, 128 bits) finds differences between nodes that trust each other; it is no defence against one that lies.

use std::ops::Range;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::record::Version;
use super::{Key, Stamp};

/// Bits of a digit of a path; a node has a child for each digit.
const BITS: u8 = 4;
/// Digits of the path to a leaf.
const DEPTH: u8 = 3;
/// Leaves.
const LEAVES: u16 = 1 << (BITS * DEPTH);

/// The leaf of a key.
#[must_use]
pub fn bucket(key: &Key) -> u16 {
    let mut bytes = vec![key.table.number()];
    bytes.extend_from_slice(key.key.as_bytes());
    let [one, two, ..] = xxh3_64(&bytes).to_le_bytes();
    u16::from_le_bytes([one, two]) % LEAVES
}

fn hash(key: &Key, stamp: Stamp) -> u128 {
    let mut bytes = stamp.to_bytes().to_vec();
    bytes.push(key.table.number());
    bytes.extend_from_slice(key.key.as_bytes());
    xxh3_128(&bytes)
}

/// A path from the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Its digits as one number.
    number: u16,
    /// How many there are.
    depth: u8,
}

impl Path {
    /// The root.
    pub const ROOT: Self = Self { number: 0, depth: 0 };

    /// From text as [`Path::text`] makes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "root" {
            return Some(Self::ROOT);
        }
        let depth = u8::try_from(text.len()).ok().filter(|depth| (1..=DEPTH).contains(depth))?;
        let is_hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(Self { number: is_hexadecimal.then(|| u16::from_str_radix(text, 16).ok())??, depth })
    }

    /// As text: hexadecimal digits, or a word for the root.
    #[must_use]
    pub fn text(self) -> String {
        if self == Self::ROOT { "root".into() } else { format!("{:0width$x}", self.number, width = self.depth.into()) }
    }

    /// The paths below; none below a leaf.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let digits = if self.depth < DEPTH { 0..1 << BITS } else { 0..0 };
        digits.map(move |digit| Self { number: self.number << BITS | digit, depth: self.depth + 1 })
    }

    /// The leaf that it leads to.
    #[must_use]
    pub fn leaf(self) -> Option<u16> {
        (self.depth == DEPTH).then_some(self.number)
    }

    /// The leaves below.
    fn leaves(self) -> Range<usize> {
        let bits = BITS * (DEPTH - self.depth);
        let first = usize::from(self.number) << bits;
        first..first + (1 << bits)
    }
}

/// The tree.
#[derive(Debug)]
pub struct Tree(Vec<u128>);

impl Default for Tree {
    fn default() -> Self {
        Self(vec![0; usize::from(LEAVES)])
    }
}

impl Tree {
    /// Takes a version in, or out where it is in.
    pub fn toggle(&mut self, Version { key, stamp }: &Version) {
        if let Some(leaf) = self.0.get_mut(usize::from(bucket(key))) {
            *leaf ^= hash(key, *stamp);
        }
    }

    /// The hash of what is below a path.
    #[must_use]
    pub fn hash(&self, path: Path) -> u128 {
        let below = &self.0[path.leaves()];
        if let [leaf] = below {
            return *leaf;
        }
        let bytes: Vec<u8> = below.iter().flat_map(|leaf| leaf.to_le_bytes()).collect();
        xxh3_128(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Table;

    fn version(key: &str, time: u64) -> Version {
        Version { key: Key { table: Table::Votes, key: key.into() }, stamp: Stamp { time, node: 1 } }
    }

    #[test]
    fn the_order_of_changes_does_not_matter_and_each_difference_is_below_one_leaf() {
        let (mut one, mut other) = (Tree::default(), Tree::default());
        let all: Vec<Version> = (0..1_000).map(|n| version(&format!("key-{n}"), n)).collect();
        for (first, last) in all.iter().zip(all.iter().rev()) {
            one.toggle(first);
            other.toggle(last);
        }
        assert_eq!(one.hash(Path::ROOT), other.hash(Path::ROOT));
        other.toggle(&version("key-7", 7));
        other.toggle(&version("key-7", 8));
        let mut path = Path::ROOT;
        loop {
            assert_ne!(one.hash(path), other.hash(path), "{path:?}");
            let mut differing: Vec<_> =
                path.children().filter(|child| one.hash(*child) != other.hash(*child)).collect();
            let Some(child) = differing.pop() else { break };
            assert!(differing.is_empty());
            path = child;
        }
        assert_eq!(path.leaf(), Some(bucket(&version("key-7", 0).key)));
    }

    #[test]
    fn paths_are_read_as_they_are_written() {
        let path = Path::parse("a0f").unwrap();
        assert_eq!((path.text().as_str(), path.leaf()), ("a0f", Some(0xa0f)));
        assert_eq!(Path::parse("root"), Some(Path::ROOT));
        assert_eq!(Path::ROOT.children().count(), 16);
        for text in ["", "g", "0123", "-1", "+1", "ä"] {
            assert_eq!(Path::parse(text), None, "{text}");
        }
    }
}
