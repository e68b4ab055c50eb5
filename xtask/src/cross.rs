//! The agent for arm64, built and tried on another machine.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{build, ebpf, shell};

/// An architecture that the agent runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    Aarch64,
}

impl Arch {
    /// The one of this machine.
    pub(crate) const HOST: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// Its name for rustc.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// Rust's name of arm64 Linux.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Debian's linker for it.
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// Debian's C library for it, where the emulator finds it.
const LIBRARY: &str = "/usr/aarch64-linux-gnu";
const EMULATOR: &str = "qemu-aarch64-static";
/// What building and trying it needs, and Debian's packages.
pub(crate) const PROGRAMS: &[(&str, &str)] = &[
    (LINKER, "gcc-aarch64-linux-gnu"),
    ("/usr/aarch64-linux-gnu/lib/crt1.o", "libc6-dev-arm64-cross"),
    (EMULATOR, "qemu-user-static"),
];
/// rustup can hang where its server is out of reach.
const TARGET_LIMIT: Duration = Duration::from_mins(3);

/// Builds the object and the agent for another architecture than this machine's.
pub(crate) fn agent(arch: Arch, profile: &str) -> Result<String> {
    ensure!(arch == Arch::Aarch64, "on this machine the agent is built for {} and aarch64 only", env::consts::ARCH);
    ensure!(shell::find(LINKER).is_some(), "no {LINKER}: `cargo xtask setup --tests` installs it");
    standard_library()?;
    ebpf::build(arch)?;
    // The build script takes the object of the architecture that it builds for.
    let mut cargo = shell::cargo();
    cargo.args(["build", "--profile", profile, "--target-dir", "target", "--target", TARGET, "-p", "stemedb-probe"]);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    shell::run(&mut cargo).context("stemedb-probe does not build for arm64")?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(format!("target/{TARGET}/{folder}/stemedb-probe"))
}

/// The compiler's own library for the target.
fn standard_library() -> Result<()> {
    if has_standard_library()? {
        return Ok(());
    }
    if shell::find("rustup").is_none() {
        bail!("rustc has no standard library for {TARGET}, and there is no rustup to install it: install it by hand");
    }
    println!("installing  Rust's standard library for {TARGET}");
    shell::run_within(shell::command("rustup").args(["target", "add", TARGET]), TARGET_LIMIT)?;
    ensure!(has_standard_library()?, "rustup has installed {TARGET} for another toolchain than the one in use");
    Ok(())
}

fn has_standard_library() -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let folder = shell::capture(shell::command(rustc).args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(Path::new(folder.trim()).is_dir())
}

/// Builds the agent for arm64 and tries what of it needs no kernel of that architecture.
pub(crate) fn try_arm64() -> Result<()> {
    if Arch::HOST == Arch::Aarch64 {
        println!("this is arm64: every other step is the test");
        return Ok(());
    }
    let agent = agent(Arch::Aarch64, "dev")?;
    let agent = shell::root().join(agent);
    let machine = machine(&fs::read(&agent).with_context(|| agent.display().to_string())?);
    ensure!(machine == Some(AARCH64), "{} is for machine {machine:?}, not arm64", agent.display());
    let objects = [Arch::HOST, Arch::Aarch64].map(|arch| fs::read(shell::root().join(ebpf::object(arch))));
    let [Ok(host), Ok(arm64)] = objects else { bail!("an object is missing") };
    ensure!(host != arm64, "the object for arm64 is the one for {}", env::consts::ARCH);
    ensure!(holds(&fs::read(&agent)?, &arm64), "the agent for arm64 does not hold the object for arm64");

    let mut emulated = Command::new(EMULATOR);
    emulated.args(["-L", LIBRARY]).arg(&agent).arg("metrics");
    let text = shell::capture(&mut emulated)?;
    let own = shell::capture(shell::command(shell::root().join(build::AGENT)).arg("metrics"))?;
    ensure!(text == own, "the agent for arm64 knows other metrics");
    println!("the agent for arm64 runs, and knows the same metrics");
    Ok(())
}

/// `EM_AARCH64` of elf.h
const AARCH64: u16 = 183;

/// The machine that an ELF file is for.
fn machine(elf: &[u8]) -> Option<u16> {
    let machine = elf.strip_prefix(b"\x7fELF")?.get(14..16)?;
    Some(u16::from_le_bytes([machine[0], machine[1]]))
}

fn holds(whole: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && whole.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_for_this_machine() {
        let own = machine(&fs::read("/proc/self/exe").unwrap()).unwrap();
        assert_eq!(own == AARCH64, Arch::HOST == Arch::Aarch64);
        assert_eq!(machine(b"#!/bin/sh"), None);
        assert_eq!(Arch::HOST.name(), env::consts::ARCH);
    }

    #[test]
    fn a_part_is_found_where_it_is_whole() {
        assert!(holds(b"aababc", b"abc"));
        assert!(!holds(b"aabab", b"abc"));
    }
}
