//! Reads type information (BTF, Documentation/bpf/btf.rst) where it lies: the bytes of the file, and where in them each
//! type begins. A kernel's has some 150,000 types, of which a hundred are asked for (docs/adr/0007).

use std::ops::Range;

/// Magic number, version and flags, as a little-endian word.
const BEGIN: u32 = 0x0001_eb9f;
/// Bytes of the fields of the header that are read.
const HEADER: usize = 24;
/// Bytes of what each type begins with: name, kind and count, size or type.
const COMMON: usize = 12;

/// A kind of type: `BTF_KIND_*` of include/uapi/linux/btf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::CheckedBitPattern)]
#[repr(u32)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Kind {
    Int = 1,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    DataSec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    /// Words after the common ones: those that every type of the kind has, and those of each row.
    #[must_use]
    pub fn words(self) -> (usize, usize) {
        match self {
            Self::Int | Self::Var | Self::DeclTag => (1, 0),
            Self::Array => (3, 0),
            Self::Struct | Self::Union | Self::DataSec | Self::Enum64 => (0, 3),
            Self::Enum | Self::FuncProto => (0, 2),
            _ => (0, 0),
        }
    }
}

/// What is wrong with type information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not begin as such information does.
    #[error("it does not begin with the magic number and version of little-endian BTF")]
    Begin,
    /// It is shorter than it says.
    #[error("the file ends too early")]
    Short,
    /// A kind that is not known here, so that what follows cannot be read.
    #[error("type {id} is of kind {kind}, which this version does not know")]
    Kind {
        /// The type.
        id: u32,
        /// Its kind.
        kind: u32,
    },
}

/// Type information. Ids count from 1; 0 is `void`, which has no entry.
pub struct TypeInfo {
    bytes: Vec<u8>,
    /// Where each type begins.
    starts: Vec<u32>,
    names: Range<usize>,
}

impl TypeInfo {
    /// Looks at every type once. Ids, and names, may refer to what is not there: asking for it gives nothing.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Fault> {
        let field = |at| word(&bytes, at).ok_or(Fault::Short);
        if field(0)? != BEGIN {
            return Err(Fault::Begin);
        }
        let section = |at| {
            let (begin, length) = (field(at)? as usize, field(at + 4)? as usize);
            let begin = begin.checked_add(field(4)? as usize).ok_or(Fault::Short)?;
            let range = begin..begin.checked_add(length).ok_or(Fault::Short)?;
            if begin >= HEADER && bytes.get(range.clone()).is_some() { Ok(range) } else { Err(Fault::Short) }
        };
        let (types, names) = (section(8)?, section(16)?);
        let starts = starts(&bytes[..types.end], types.start)?;
        Ok(Self { bytes, starts, names })
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A type; nothing for `void` and for what is not there.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Type<'_>> {
        let start = *self.starts.get((id as usize).checked_sub(1)?)? as usize;
        let [name, info, refers] = [0, 4, 8].map(|at| word(&self.bytes, start + at));
        let (kind, rows, flag) = split(info?)?;
        let (fixed, row) = kind.words();
        let data = self.bytes.get(start + COMMON..start + COMMON + 4 * (fixed + row * rows))?;
        Some(Type { all: self, kind, flag, name: name?, refers: refers?, data })
    }

    /// All types with their ids, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Type<'_>)> {
        (1_u32..).zip(&self.starts).map_while(|(id, _)| Some((id, self.get(id)?)))
    }

    /// A name; nothing where it is empty, or no text.
    fn name(&self, at: u32) -> Option<&str> {
        let names = self.bytes.get(self.names.clone())?.get(at as usize..)?;
        let name = names.get(..names.iter().position(|byte| *byte == 0)?)?;
        if name.is_empty() { None } else { std::str::from_utf8(name).ok() }
    }
}

/// Where each type begins, from the first on to the end of `bytes`.
fn starts(bytes: &[u8], mut at: usize) -> Result<Vec<u32>, Fault> {
    let mut starts = Vec::new();
    while at < bytes.len() {
        let start = u32::try_from(at).map_err(|_| Fault::Short)?;
        starts.push(start);
        let info = word(bytes, at + 4).ok_or(Fault::Short)?;
        let id = u32::try_from(starts.len()).map_err(|_| Fault::Short)?;
        let (kind, rows, _) = split(info).ok_or(Fault::Kind { id, kind: kind_of(info) })?;
        let (fixed, row) = kind.words();
        at += COMMON + 4 * (fixed + row * rows);
    }
    if at == bytes.len() { Ok(starts) } else { Err(Fault::Short) }
}

fn kind_of(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Kind, number of rows and flag.
fn split(info: u32) -> Option<(Kind, usize, bool)> {
    let kind = bytemuck::checked::try_cast(kind_of(info)).ok()?;
    Some((kind, (info & 0xffff) as usize, info >> 31 == 1))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A type.
#[derive(Clone, Copy)]
pub struct Type<'t> {
    all: &'t TypeInfo,
    /// Its kind.
    pub kind: Kind,
    /// `kind_flag`: members have bit fields among them.
    flag: bool,
    name: u32,
    /// Its size in bytes, or the type that it refers to, as its kind has it.
    pub refers: u32,
    data: &'t [u8],
}

/// A member of a structure or union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'t> {
    /// Nothing for a structure or union without a name.
    pub name: Option<&'t str>,
    /// The id of its type.
    pub of: u32,
    /// Where it begins, in bytes; nothing for a bit field.
    pub offset: Option<u32>,
}

impl<'t> Type<'t> {
    /// Its name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&'t str> {
        self.all.name(self.name)
    }

    /// Members of a structure or union.
    pub fn members(&self) -> impl Iterator<Item = Member<'t>> + use<'t> {
        let (all, flag) = (self.all, self.flag);
        self.rows([Kind::Struct, Kind::Union]).map(move |[name, of, offset]| {
            let (bits, width) = if flag { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
            let offset = (width == 0 && bits % 8 == 0).then_some(bits / 8);
            Member { name: all.name(name), of, offset }
        })
    }

    /// The types of a function prototype's parameters.
    pub fn parameters(&self) -> impl Iterator<Item = u32> + use<'t> {
        self.rows([Kind::FuncProto]).map(|[_, of]| of)
    }

    /// Names and values of an `enum`.
    pub fn values(&self) -> impl Iterator<Item = (Option<&'t str>, u32)> + use<'t> {
        let all = self.all;
        self.rows([Kind::Enum]).map(move |[name, value]| (all.name(name), value))
    }

    /// The type of an array's elements.
    #[must_use]
    pub fn element(&self) -> Option<u32> {
        self.rows([Kind::Array]).next().map(|[of, _, _]| of)
    }

    /// Rows of `N` words, if the type is of one of these kinds.
    pub fn rows<const N: usize, const K: usize>(
        &self,
        kinds: [Kind; K],
    ) -> impl Iterator<Item = [u32; N]> + use<'t, N, K> {
        let data = if kinds.contains(&self.kind) { self.data } else { &[] };
        data.chunks_exact(4 * N).map(|row| std::array::from_fn(|n| word(row, 4 * n).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these types, whose names are `\0a\0b\0`.
    fn file(types: &[u32]) -> Vec<u8> {
        let length = u32::try_from(4 * types.len()).unwrap();
        let words = [BEGIN, 24, 0, length, length, 5];
        words.iter().chain(types).flat_map(|word| word.to_le_bytes()).chain(*b"\0a\0b\0").collect()
    }

    #[test]
    fn members_are_at_bytes_unless_they_are_bit_fields() {
        let members = [1, 7, 64, 0, 8, 2 << 24 | 0x48, 3, 9, 12];
        let types = [[1, 1 << 31 | 4 << 24 | 3, 16].as_slice(), &members].concat();
        let types = TypeInfo::parse(file(&types)).unwrap();
        let found = types.get(1).unwrap();
        assert_eq!((found.kind, found.name(), found.refers), (Kind::Struct, Some("a"), 16));
        let expected = [(Some("a"), 7, Some(8)), (None, 8, None), (Some("b"), 9, None)]
            .map(|(name, of, offset)| Member { name, of, offset });
        assert_eq!(found.members().collect::<Vec<_>>(), expected);
        assert_eq!(found.parameters().count() + found.values().count(), 0);
        assert!(types.get(0).is_none() && types.get(2).is_none());
    }

    #[test]
    fn faults_are_told() {
        let error = |bytes: Vec<u8>| TypeInfo::parse(bytes).err();
        assert_eq!(error(Vec::new()), Some(Fault::Short));
        assert_eq!(error(vec![0; 24]), Some(Fault::Begin));
        assert_eq!(error(file(&[0, 31 << 24, 0])), Some(Fault::Kind { id: 1, kind: 31 }));
        assert_eq!(error(file(&[0, 4 << 24 | 1, 0])), Some(Fault::Short));
        assert_eq!(TypeInfo::parse(file(&[])).unwrap().iter().count(), 0);
    }
}
