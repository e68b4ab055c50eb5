//! Structure offsets of the running kernel, from its BTF.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use stemedb_ebpf::offsets::{ABSENT, FIELDS, Field, Need, Offsets};

use super::members;
use super::syscalls::Arch;
use super::typeinfo::{Kind, TypeInfo};
use super::types::KernelTypes;

/// Where kernels keep their own BTF (`CONFIG_DEBUG_INFO_BTF`).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why the BTF is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error(
        "cannot read the kernel's type information {path}: {source}; use a kernel with CONFIG_DEBUG_INFO_BTF=y, or give the BTF of this very kernel with --btf FILE"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// The file is not BTF.
    #[error(
        "{path} is not usable type information ({why}); it may be cut short: make it again, for example with `pahole --btf_encode_detached FILE vmlinux`"
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A field without which nothing works is not there.
    #[error(
        "{path} has no {missing}: this kernel's structures are not known to this version; please report it with the output of `stemedb-probe doctor --json`"
    )]
    Fields {
        /// The file.
        path: PathBuf,
        /// The fields.
        missing: String,
    },
}

/// What the BTF says.
pub struct Resolution {
    /// The offsets; absent fields are marked.
    pub offsets: Offsets,
    /// Fields that this kernel does not have.
    pub missing: Vec<&'static Field>,
    /// What the agent asks of the types before it attaches; large.
    pub kernel: KernelTypes,
    /// The file that was read.
    pub path: PathBuf,
    /// The architecture of the kernel.
    pub arch: Arch,
}

impl Resolution {
    /// The missing fields that `need` asks for, as text; `None` when it has all.
    #[must_use]
    pub fn lacks(&self, need: Need) -> Option<String> {
        let names: Vec<String> =
            self.missing.iter().filter(|field| field.need == need).map(|field| name(field)).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

fn name(field: &Field) -> String {
    format!("{}.{}", field.of, field.members[0])
}

/// Resolves every row of [`FIELDS`] from a file.
pub fn resolve(path: &Path, arch: Arch) -> Result<Resolution, BtfError> {
    let bytes = std::fs::read(path).map_err(|source| BtfError::Read { path: path.to_owned(), source })?;
    resolve_bytes(bytes, path, arch)
}

/// The same from the bytes of the file.
pub fn resolve_bytes(bytes: Vec<u8>, path: &Path, arch: Arch) -> Result<Resolution, BtfError> {
    let types = parse(bytes, path)?;
    let structs = struct_ids(&types);
    let mut offsets = Offsets::NONE;
    let mut missing = Vec::new();
    for (field, slot) in FIELDS.iter().zip(offsets.iter_mut()) {
        match offset_of(&types, structs.get(field.of).map_or(&[], Vec::as_slice), field) {
            Some(offset) => *slot = offset,
            None => missing.push(field),
        }
    }
    let out = Resolution { offsets, missing, kernel: KernelTypes::new(types), path: path.to_owned(), arch };
    let lacks = [Need::Files, arch.need()].into_iter().filter_map(|need| out.lacks(need)).collect::<Vec<_>>();
    if lacks.is_empty() { Ok(out) } else { Err(BtfError::Fields { path: path.to_owned(), missing: lacks.join(", ") }) }
}

/// The types in the bytes of a file.
pub fn parse(bytes: Vec<u8>, path: &Path) -> Result<TypeInfo, BtfError> {
    TypeInfo::parse(bytes).map_err(|fault| BtfError::Parse { path: path.to_owned(), why: fault.to_string() })
}

/// The ids of the structures that [`FIELDS`] names. A kernel may have two structures of one name.
pub fn struct_ids(types: &TypeInfo) -> HashMap<&'static str, Vec<u32>> {
    let mut ids: HashMap<&'static str, Vec<u32>> = FIELDS.iter().map(|field| (field.of, Vec::new())).collect();
    for (id, found) in types.iter().filter(|(_, found)| found.kind == Kind::Struct) {
        if let Some(list) = found.name().and_then(|name| ids.get_mut(name)) {
            list.push(id);
        }
    }
    ids
}

fn offset_of(types: &TypeInfo, ids: &[u32], field: &Field) -> Option<u32> {
    let mut candidates = ids.iter().flat_map(|id| field.members.iter().map(move |member| (*id, *member)));
    candidates.find_map(|(id, member)| {
        let way = members::way(types, id, member)?;
        let offset = way.iter().try_fold(0_u32, |sum, step| sum.checked_add(step.offset))?;
        (offset < ABSENT).then_some(offset)
    })
}
