//! bpf-linker, which makes the object from LLVM's bitcode.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::apt::{self, Apt};
use crate::shell;
use crate::toolchain::LLVM;

/// The version that is installed; any with the same first two numbers does.
const VERSION: &str = "0.13.0";

/// The version and place of the bpf-linker that is there, or what is wrong with it.
pub(crate) fn find() -> Result<String, String> {
    let Some(path) = shell::find("bpf-linker") else {
        return Err("bpf-linker is not installed".into());
    };
    let answer = shell::capture(shell::command(&path).arg("--version"))
        .map_err(|error| format!("bpf-linker does not run: {error:#}"))?;
    let version = answer.trim().trim_start_matches("bpf-linker ");
    if compatible(version) {
        Ok(format!("{version}, {}", path.display()))
    } else {
        Err(format!("bpf-linker is {version}, wanted is {VERSION}"))
    }
}

fn compatible(version: &str) -> bool {
    VERSION.rsplit_once('.').is_some_and(|(series, _)| {
        version.strip_prefix(series).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Builds and installs bpf-linker, and the LLVM that it links with.
pub(crate) fn install(apt: &mut Apt) -> Result<()> {
    let package = format!("llvm-{LLVM}-dev");
    let prefix = format!("/usr/lib/llvm-{LLVM}");
    let by_hand = || {
        format!(
            "bpf-linker is missing; {}, then: LLVM_PREFIX={prefix} cargo install bpf-linker --version {VERSION}",
            apt::by_hand(&[&package])
        )
    };
    if !Path::new(&prefix).join("include/llvm-c").exists() {
        if !Apt::usable() {
            bail!("{}", by_hand());
        }
        println!("installing  {package}");
        apt.install(&[&package]).with_context(by_hand)?;
    }
    println!("installing  bpf-linker {VERSION}, which takes about a minute");
    let start = Instant::now();
    let install = |more: &[&str]| {
        let arguments = ["install", "bpf-linker", "--version", VERSION, "--force"];
        let mut cargo = shell::cargo();
        shell::run(cargo.args(arguments).args(more).env("LLVM_PREFIX", &prefix))
    };
    if let Err(error) = install(&["--locked"]) {
        println!("note        {error:#}: trying without --locked");
        install(&[]).with_context(by_hand)?;
    }
    println!("installed   bpf-linker {VERSION} in {} s", start.elapsed().as_secs());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_patch_of_the_version_does() {
        assert!(compatible("0.13.0") && compatible("0.13.7") && compatible("0.13"));
        assert!(!compatible("0.14.0") && !compatible("0.130.0") && !compatible("0.9.15"));
    }
}
