//! Writes type information (Documentation/bpf/btf.rst). The crates that read it do not write structures.

use std::collections::HashMap;

/// A kind of type: `BTF_KIND_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Float = 16,
    TypeTag = 18,
    Enum64 = 19,
}

/// Type information that grows.
pub struct Encoder {
    types: Vec<u8>,
    strings: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Default for Encoder {
    fn default() -> Self {
        // Offset 0 is the empty name.
        Self { types: Vec::new(), strings: vec![0], known: HashMap::from([(String::new(), 0)]) }
    }
}

impl Encoder {
    /// The offset of a name among the strings.
    pub fn name(&mut self, name: &str) -> u32 {
        if let Some(at) = self.known.get(name) {
            return *at;
        }
        let at = length(&self.strings);
        self.strings.extend(name.bytes().chain([0]));
        self.known.insert(name.to_owned(), at);
        at
    }

    /// Adds a type; the first has the id 1. `size_or_type` and `rows`, one a member, parameter or value, depend on the kind.
    pub fn add<const N: usize>(&mut self, kind: Kind, name: &str, size_or_type: u32, rows: &[[u32; N]]) {
        let name = self.name(name);
        // Of the kinds here these two have data that are not counted.
        let counted = !matches!(kind, Kind::Int | Kind::Array);
        let count = if counted { u32::try_from(rows.len()).unwrap_or(u32::MAX) & 0xffff } else { 0 };
        for word in [name, (kind as u32) << 24 | count, size_or_type].iter().chain(rows.as_flattened()) {
            self.types.extend(word.to_le_bytes());
        }
    }

    /// The whole, with its header.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        const MAGIC_AND_VERSION: u32 = 0x0001_eb9f;
        const HEADER: u32 = 24;
        let (types, strings) = (length(&self.types), length(&self.strings));
        let header = [MAGIC_AND_VERSION, HEADER, 0, types, types, strings];
        header.into_iter().flat_map(u32::to_le_bytes).chain(self.types).chain(self.strings).collect()
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
