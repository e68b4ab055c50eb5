//! Type information that is missing, damaged, or that of another kernel.

use std::fs;
use std::path::Path;

use anyhow::Result;
use stemedb_kernel_tests::outcome::Outcome;

use super::FAILED;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Demands that `run` and `doctor` refuse a file, name it, and say what to do.
fn refused(file: &Path, remedy: &str) -> Result<()> {
    let path = file.display().to_string();
    for args in [&["run", "--listen", "127.0.0.1:0", "--btf", &path][..], &["doctor", "--btf", &path]] {
        Outcome::of_probe(args)?.complains(FAILED, &[&path, remedy])?;
    }
    Ok(())
}

/// The same for a file with these bytes.
fn refused_bytes(bytes: &[u8], remedy: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("kernel.btf");
    fs::write(&file, bytes)?;
    refused(&file, remedy)
}

#[test]
fn missing_type_information() -> Result<()> {
    refused(Path::new("/nonexistent"), "--btf FILE")?;
    refused(tempfile::tempdir()?.path(), "--btf FILE")
}

#[test]
fn no_type_information_at_all() -> Result<()> {
    let noise: Vec<u8> = (0_u32..4096).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for bytes in [&b""[..], b"\0", b"this is no type information", &noise] {
        refused_bytes(bytes, "pahole")?;
    }
    Ok(())
}

#[test]
fn truncated_type_information() -> Result<()> {
    let whole = fs::read(VMLINUX)?;
    let len = whole.len();
    for cut in [2, 23, 24, 25, 4096, len / 4, len / 2, len / 4 * 3, len - 1] {
        refused_bytes(&whole[..cut], "pahole").map_err(|error| error.context(format!("cut at {cut} of {len}")))?;
    }
    Ok(())
}

#[test]
fn type_information_with_wrong_lengths() -> Result<()> {
    let whole = fs::read(VMLINUX)?;
    // hdr_len, type_off, type_len, str_off, str_len of `struct btf_header`
    for at in [4, 8, 12, 16, 20] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        refused_bytes(&bytes, "pahole").map_err(|error| error.context(format!("length at {at}")))?;
    }
    Ok(())
}

#[test]
fn type_information_without_types() -> Result<()> {
    // A header of 24 bytes, no types, and the empty string.
    let header: [u32; 6] = [0x0001_eb9f, 24, 0, 0, 0, 1];
    let bytes: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).chain([0]).collect();
    refused_bytes(&bytes, "doctor --json")
}
