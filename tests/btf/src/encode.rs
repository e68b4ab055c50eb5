//! Writes type information (Documentation/bpf/btf.rst).

use std::collections::HashMap;

pub use stemedb_probe::kernel::typeinfo::Kind;

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
        let (_, row) = kind.words();
        let count = if row > 0 { u32::try_from(rows.len()).unwrap_or(u32::MAX) & 0xffff } else { 0 };
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
