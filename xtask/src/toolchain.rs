//! The toolchain for the eBPF object. `core` for `bpfel-unknown-none` is built from source, which takes the
//! library's source and unstable features: rustup's nightly has both, and so have Debian's `rustc-web` packages.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::apt::{self, Apt};
use crate::shell;

/// Debian's packages of a rustc that is new enough, with its library's source.
const DEBIAN: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// The LLVM that bpf-linker is built with; it reads the bitcode of this one and of older ones.
pub(crate) const LLVM: u32 = 22;
/// rustup can hang where its server is out of reach.
const COMPONENT_LIMIT: Duration = Duration::from_secs(90);
const TOOLCHAIN_LIMIT: Duration = Duration::from_mins(10);

/// Where a toolchain comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Rustup,
    Debian,
}

/// A toolchain that can build the object.
pub(crate) struct Toolchain {
    source: Source,
    /// What it is, and why it was chosen.
    pub(crate) description: String,
}

/// What a source offers now.
enum State {
    /// A toolchain of this version.
    Ready(String),
    /// It would do with the library's source.
    WithoutLibrary(String),
    /// It isn't there, but can perhaps be installed.
    Absent(String),
    /// It is there, or can't be, and won't do.
    Unfit(String),
}

impl State {
    fn problem(&self) -> &str {
        match self {
            Self::Ready(_) => "it is ready",
            Self::WithoutLibrary(problem) | Self::Absent(problem) | Self::Unfit(problem) => problem,
        }
    }
}

impl Toolchain {
    /// The first that is ready: rustup's nightly, then Debian's; or why neither is.
    pub(crate) fn find() -> Result<Self, String> {
        let rustup = rustup();
        if let State::Ready(version) = rustup {
            let description = format!("rustup's nightly {version}, preferred because it has rust-src");
            return Ok(Self { source: Source::Rustup, description });
        }
        let debian = debian();
        if let State::Ready(version) = debian {
            let description = format!("Debian's rustc {version} (RUSTC_BOOTSTRAP=1), because {}", rustup.problem());
            return Ok(Self { source: Source::Debian, description });
        }
        Err(format!("{}; {}", rustup.problem(), debian.problem()))
    }

    /// Installs what the first possible of them lacks.
    pub(crate) fn install(apt: &mut Apt) -> Result<Self> {
        let attempt = match rustup() {
            State::WithoutLibrary(_) => {
                println!("installing  rust-src for rustup's nightly");
                let arguments = ["component", "add", "rust-src", "--toolchain", "nightly"];
                shell::run_within(shell::command("rustup").args(arguments), COMPONENT_LIMIT)
            }
            State::Absent(_) => {
                println!("installing  rustup's nightly with rust-src");
                let arguments = ["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"];
                shell::run_within(shell::command("rustup").args(arguments), TOOLCHAIN_LIMIT)
            }
            State::Ready(_) | State::Unfit(_) => Ok(()),
        };
        if let Err(error) = attempt {
            println!("note        {error:#}: trying Debian's packages");
        }
        if let Ok(toolchain) = Self::find() {
            return Ok(toolchain);
        }
        if !Apt::usable() {
            bail!("{}", by_hand());
        }
        println!("installing  {}", DEBIAN.join(" "));
        apt.install(DEBIAN).with_context(by_hand)?;
        Self::find().map_err(anyhow::Error::msg).with_context(by_hand)
    }

    /// Whether this toolchain has clippy.
    pub(crate) fn has_clippy(&self) -> bool {
        shell::capture(self.cargo().args(["clippy", "--version"])).is_ok()
    }

    /// Installs clippy for it.
    pub(crate) fn install_clippy(&self, apt: &mut Apt) -> Result<()> {
        match self.source {
            Source::Rustup => {
                let arguments = ["component", "add", "clippy", "--toolchain", "nightly"];
                shell::run_within(shell::command("rustup").args(arguments), COMPONENT_LIMIT)
            }
            Source::Debian => apt.install(&["rust-web-clippy"]),
        }
    }

    /// This toolchain's cargo, allowed to build `core`.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = match self.source {
            Source::Rustup => {
                let mut cargo = shell::command("rustup");
                cargo.args(["run", "nightly", "cargo"]).env_remove("RUSTC");
                cargo
            }
            Source::Debian => {
                // The cargo of the same version, if it is there; another does as well.
                let mut cargo =
                    if Path::new(DEBIAN_CARGO).exists() { shell::command(DEBIAN_CARGO) } else { shell::cargo() };
                // cargo looks for its subcommands in the PATH, where rustup's come first.
                let path = std::env::var("PATH").unwrap_or_default();
                cargo.env("PATH", format!("/usr/bin:{path}")).env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        };
        without_the_outer(&mut cargo);
        cargo
    }
}

/// Removes what ties a command to the toolchain that runs this program.
fn without_the_outer(command: &mut Command) -> &mut Command {
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    command
}

fn by_hand() -> String {
    format!(
        "no toolchain can build `core` for the eBPF object; install by hand either rustup's nightly (rustup toolchain \
         install nightly --component rust-src) or Debian's packages ({})",
        apt::by_hand(DEBIAN)
    )
}

fn rustup() -> State {
    if shell::find("rustup").is_none() {
        return State::Unfit("rustup is not installed".into());
    }
    let listed = shell::capture(shell::command("rustup").args(["toolchain", "list"]));
    if !listed.is_ok_and(|list| list.lines().any(|line| line.starts_with("nightly-") && dateless(line))) {
        return State::Absent("rustup has no nightly".into());
    }
    inspect("rustup's nightly", "rust-src", || {
        let mut rustc = shell::command("rustup");
        rustc.args(["run", "nightly", "rustc"]);
        rustc
    })
}

/// Whether a line of `rustup toolchain list` is the nightly itself, not one of a certain day.
fn dateless(line: &str) -> bool {
    !line.trim_start_matches("nightly-").starts_with(|first: char| first.is_ascii_digit())
}

fn debian() -> State {
    if !Path::new(DEBIAN_RUSTC).exists() {
        return State::Absent("Debian's rustc-web is not installed".into());
    }
    inspect("Debian's rustc", "rust-web-src", || shell::command(DEBIAN_RUSTC))
}

fn inspect(name: &str, library: &str, rustc: impl Fn() -> Command) -> State {
    let ask = |argument: &[&str]| shell::capture(without_the_outer(&mut rustc()).args(argument));
    let (version, sysroot) = match (ask(&["-vV"]), ask(&["--print", "sysroot"])) {
        (Ok(version), Ok(sysroot)) => (version, sysroot),
        (Err(error), _) | (_, Err(error)) => return State::Unfit(format!("{name} does not run: {error:#}")),
    };
    match fit(&version) {
        Err(problem) => State::Unfit(format!("{name} {problem}")),
        Ok(release) => {
            let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
            if source.is_file() {
                State::Ready(release)
            } else {
                State::WithoutLibrary(format!("{name} has no {library}"))
            }
        }
    }
}

/// The release in the answer to `rustc -vV`, or why that rustc won't do.
fn fit(answer: &str) -> Result<String, String> {
    let value = |key: &str| answer.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let (Some(release), Some(llvm)) = (value("release:"), value("LLVM version:")) else {
        return Err("does not tell its version".into());
    };
    let least = env!("CARGO_PKG_RUST_VERSION");
    if numbers(release) < numbers(least) {
        return Err(format!("is {release}, older than {least}"));
    }
    if numbers(llvm).first().is_some_and(|major| *major > LLVM) {
        return Err(format!("has LLVM {llvm}, newer than the LLVM {LLVM} of bpf-linker"));
    }
    Ok(release.to_owned())
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').take(2).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(release: &str, llvm: &str) -> String {
        format!("rustc {release}\nbinary: rustc\nhost: x\nrelease: {release}\nLLVM version: {llvm}\n")
    }

    #[test]
    fn a_compiler_must_be_new_enough_and_its_llvm_not_too_new() {
        assert_eq!(fit(&answer("1.97.0-nightly", "22.1.4")).unwrap(), "1.97.0-nightly");
        assert_eq!(fit(&answer("1.96.0", "21.1.0")).unwrap(), "1.96.0");
        assert!(fit(&answer("1.63.0", "14.0.6")).unwrap_err().contains("older"));
        assert!(fit(&answer("1.108.0-nightly", "23.1.0")).unwrap_err().contains("LLVM 23.1.0"));
        assert!(fit("rustc 1.97.0").is_err());
    }

    #[test]
    fn a_dated_nightly_is_another_toolchain() {
        assert!(dateless("nightly-x86_64-unknown-linux-gnu"));
        assert!(!dateless("nightly-2026-05-19-x86_64-unknown-linux-gnu"));
    }
}
