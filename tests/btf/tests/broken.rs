//! Damaged type information is refused, or leads to fewer capabilities; it never ends the agent or keeps it busy.

use std::path::Path;

use anyhow::{Context as _, Result};
use proptest::prelude::*;
use stemedb_btf_tests::encode::{Encoder, Kind};
use stemedb_btf_tests::report::report;
use stemedb_probe::kernel::btf::{self, BtfError, Resolution};
use stemedb_probe::kernel::hooks::Point;
use stemedb_probe::kernel::syscalls::Arch;
use stemedb_probe::kernel::types::{self, KernelTypes};

fn resolve(bytes: Vec<u8>) -> Result<Resolution, BtfError> {
    btf::resolve_bytes(bytes, Path::new("broken.btf"), Arch::X86_64)
}

/// A kernel that is whole.
const WHOLE: &[u8] = include_bytes!("../fixtures/debian-6.12-amd64.btf");

proptest! {
    /// Every byte is of use, so that none can be cut off.
    #[test]
    fn a_cut_is_an_error(cut in 0..WHOLE.len()) {
        let error = resolve(WHOLE[..cut].to_vec()).map(drop).err();
        let refused = matches!(error, Some(BtfError::Parse { .. }));
        prop_assert!(refused, "{error:?}");
    }

    #[test]
    fn flipped_bits_do_no_harm(flips in prop::collection::vec((0..WHOLE.len(), 0..8_u32), 1..20)) {
        let mut bytes = WHOLE.to_vec();
        for (at, bit) in flips {
            bytes[at] ^= 1 << bit;
        }
        if let Ok(resolution) = resolve(bytes) {
            prop_assert!(!report(&resolution).is_empty());
        }
    }

    /// Types that refer to the wrong types, which flipped bits seldom make.
    #[test]
    fn wrong_words_do_no_harm(words in prop::collection::vec((6..WHOLE.len() / 4, 0..400_u32), 1..40)) {
        let mut bytes = WHOLE.to_vec();
        for (at, word) in words {
            bytes[4 * at..4 * at + 4].copy_from_slice(&word.to_le_bytes());
        }
        if let Ok(resolution) = resolve(bytes) {
            prop_assert!(!report(&resolution).is_empty());
        }
    }
}

/// The error of types that were made by hand.
fn refused(types: impl FnOnce(&mut Encoder)) -> Result<String> {
    let mut encoder = Encoder::default();
    types(&mut encoder);
    Ok(resolve(encoder.finish()).map(drop).err().context("not refused")?.to_string())
}

#[test]
fn a_structure_that_contains_itself_has_an_end() -> Result<()> {
    let error = refused(|types| {
        let members = [[0, 1, 0], [0, 1, 64], [0, 2, 0], [0, 2, 64]];
        types.add(Kind::Struct, "task_struct", 8, &members);
        types.add(Kind::Union, "", 8, &members);
    })?;
    assert!(error.contains("task_struct.files"), "{error}");
    Ok(())
}

#[test]
fn a_name_for_itself_has_an_end() -> Result<()> {
    const NOTHING: &[[u32; 0]] = &[];
    let circle = |types: &mut Encoder| {
        let member = types.name("thread_info");
        types.add(Kind::Struct, "task_struct", 8, &[[member, 2, 0]]);
        types.add(Kind::Typedef, "btf_trace_sys_enter", 2, NOTHING);
    };
    let error = refused(circle)?;
    assert!(error.contains("task_struct.thread_info.status"), "{error}");

    let mut encoder = Encoder::default();
    circle(&mut encoder);
    let types = KernelTypes::new(btf::parse(encoder.finish(), Path::new("broken.btf"))?);
    let why = types.check(types::Kind::Tracepoint, &Point { name: "sys_enter", args: &[] }).unwrap_err();
    assert_eq!(why, "this kernel has no tracepoint sys_enter");
    Ok(())
}
