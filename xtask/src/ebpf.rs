//! `cargo xtask build-ebpf`: the object that the agent loads into the kernel.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

use crate::cross::Arch;
use crate::toolchain::Toolchain;
use crate::{setup, shell};

/// Where the object for an architecture is, from the top folder. The agent's build script looks there.
pub(crate) fn object(arch: Arch) -> String {
    format!("{}/{AGENTS}.o", folder(arch))
}

/// The binaries of the crate: the agent's object, and the empty programs that the agent is measured beside.
const AGENTS: &str = "stemedb-ebpf";
const FLOOR: &str = "stemedb-floor";

fn folder(arch: Arch) -> String {
    if arch == Arch::HOST { "target/bpf".to_owned() } else { format!("target/bpf-{}", arch.name()) }
}

/// Sets up what is missing, and builds the object.
pub(crate) fn build(arch: Arch) -> Result<()> {
    let toolchain = setup::for_build()?;
    println!("building the eBPF object for {} with {}", arch.name(), toolchain.description);
    shell::run(&mut cargo(&toolchain, "build", arch)).context("the eBPF object does not build")?;
    for name in [AGENTS, FLOOR] {
        let built = shell::root().join(folder(arch)).join("bpfel-unknown-none/release").join(name);
        let object = format!("{}/{name}.o", folder(arch));
        let bytes = fs::read(&built).with_context(|| built.display().to_string())?;
        let bytes = without_debug_info(&bytes).with_context(|| format!("{} is no object", built.display()))?;
        println!("built {object} ({} bytes)", bytes.len());
        // Of the same bytes another build of the agent would come.
        let path = shell::root().join(&object);
        if fs::read(&path).ok().as_ref() != Some(&bytes) {
            fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// The type information for the kernel is made from that for debuggers, which is four fifths of the object, in the agent's memory for as
/// long as it runs, and of no use to the kernel.
fn without_debug_info(object: &[u8]) -> Result<Vec<u8>> {
    let mut object = Builder::read(object)?;
    for section in &mut object.sections {
        let name = section.name.to_vec();
        section.delete = [&b".debug"[..], b".rel.debug"].iter().any(|prefix| name.starts_with(prefix));
    }
    object.delete_orphans();
    // The linker puts the names of sections to those of symbols.
    let names = object.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut out = Vec::new();
    object.write(&mut out)?;
    Ok(out)
}

/// Lints the kernel side, which the lints of the host's crates never see.
pub(crate) fn lint() -> Result<()> {
    shell::run(cargo(&setup::for_build()?, "clippy", Arch::HOST).args(["--", "-D", "warnings"]))
}

/// A cargo command on the object.
fn cargo(toolchain: &Toolchain, command: &str, arch: Arch) -> Command {
    let mut cargo = toolchain.cargo();
    cargo.args([command, "-Z", "build-std=core", "--target", "bpfel-unknown-none", "--release"]);
    cargo.args(["-p", "stemedb-ebpf", "--bins", "--target-dir", &folder(arch)]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(arch.name()).join("\x1f"));
    cargo
}

/// The flags of rustc for programs that run on kernels of this architecture.
fn flags(arch: &str) -> [String; 6] {
    [
        "-Ctarget-cpu=v3".into(),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // LLVM 22 would make calls of memset and memcpy, which the kernel does not have, from the ordered expansion.
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "--check-cfg=cfg(bpf_target_arch,values(\"x86_64\",\"aarch64\"))".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_name_the_architecture_of_the_kernel() {
        let flags = flags("aarch64");
        assert!(flags.contains(&"--cfg=bpf_target_arch=\"aarch64\"".to_owned()));
        assert!(flags.iter().all(|flag| !flag.contains('\x1f')));
    }
}
