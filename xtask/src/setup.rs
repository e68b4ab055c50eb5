//! `cargo xtask setup`: finds what a build needs, and installs what is missing.

use std::fs;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::apt::{self, Apt};
use crate::cross::{self, Arch};
use crate::toolchain::Toolchain;
use crate::{boards, linker, shell};

/// What to look for, and what to do about it.
#[derive(Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are flags of the command line")]
pub(crate) struct Options {
    /// Change nothing.
    pub(crate) check: bool,
    /// Also what the tests need.
    pub(crate) tests: bool,
    /// Also what checks the dependencies.
    pub(crate) lint: bool,
    /// Also what tests other kernels.
    pub(crate) vm: bool,
    /// Also what the agent is compared with.
    pub(crate) bench: bool,
    /// Say nothing about what is there already.
    pub(crate) quiet: bool,
}

/// Programs that tests start, and their Debian packages.
const TEST_PROGRAMS: &[(&str, &str)] = &[
    ("promtool", "prometheus"),
    ("amtool", "prometheus-alertmanager"),
    ("docker-compose", "docker-compose"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("debugfs", "e2fsprogs"),
    ("xfs_db", "xfsprogs"),
    ("losetup", "util-linux"),
    ("fsfreeze", "util-linux"),
    ("addpart", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("fio", "fio"),
    ("strace", "strace"),
    // Debian keeps the servers of its PostgreSQL versions apart, and out of PATH.
    ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
    ("redis-server", "redis-server"),
    ("etcd", "etcd-server"),
    ("db_bench", "rocksdb-tools"),
    ("sqlite3", "sqlite3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("chromium", "chromium"),
];

/// Programs that make and run a guest, and their Debian packages.
const VM_PROGRAMS: &[(&str, &str)] =
    &[("qemu-system-x86_64", "qemu-system-x86"), ("depmod", "kmod"), ("dmsetup", "dmsetup"), ("setpriv", "util-linux")];

/// Programs that do part of the agent's job, and their Debian packages.
const BENCH_PROGRAMS: &[(&str, &str)] = &[("bpftrace", "bpftrace"), ("/usr/sbin/biolatency", "libbpf-tools")];

/// Parts of the toolchain that check the source: the name of the command, and rustup's of the component.
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

/// File systems that the agent uses: where, of which type, and what shows that it is there.
const MOUNTS: &[(&str, &str)] = &[("/sys/kernel/tracing", "tracefs"), ("/sys/fs/bpf", "bpf")];

/// The command: sets up or, with `check`, only tells.
pub(crate) fn command(options: Options) -> Result<ExitCode> {
    let mut setup = Setup { options, apt: Apt::default(), missing: Vec::new() };
    setup.all()?;
    if setup.missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nmissing: {}\nthe same command without `--check` installs it", setup.missing.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Sets up what the eBPF object needs, and gives the toolchain for it.
pub(crate) fn for_build() -> Result<Toolchain> {
    let options = Options { quiet: true, ..Options::default() };
    let toolchain = Setup { options, apt: Apt::default(), missing: Vec::new() }.all()?;
    toolchain.context("no toolchain for the eBPF object")
}

/// Sets up what the kernel tests need, here and in a guest.
pub(crate) fn for_vm() -> Result<()> {
    command(Options { tests: true, vm: true, quiet: true, ..Options::default() }).map(drop)
}

struct Setup {
    options: Options,
    apt: Apt,
    /// What `check` found missing.
    missing: Vec<String>,
}

impl Setup {
    fn all(&mut self) -> Result<Option<Toolchain>> {
        let toolchain = self.toolchain()?;
        self.linker()?;
        for (place, kind) in MOUNTS {
            self.mount(place, kind);
        }
        if self.options.tests {
            self.components()?;
            self.programs(TEST_PROGRAMS)?;
            self.boards()?;
            if Arch::HOST != Arch::Aarch64 {
                self.programs(cross::PROGRAMS)?;
            }
        }
        if self.options.bench {
            self.programs(BENCH_PROGRAMS)?;
        }
        if self.options.vm {
            self.programs(VM_PROGRAMS)?;
        }
        if self.options.lint {
            if let Some(toolchain) = &toolchain {
                self.kernel_clippy(toolchain)?;
            }
            self.cargo_deny()?;
        }
        Ok(toolchain)
    }

    fn ok(&self, name: &str, detail: &str) {
        if !self.options.quiet {
            println!("ok          {name}: {detail}");
        }
    }

    /// With `check`, notes that something is missing; else says nothing. Whether to install it.
    fn lacks(&mut self, name: &str, detail: &str) -> bool {
        if self.options.check {
            println!("missing     {name}: {detail}");
            self.missing.push(name.to_owned());
        }
        !self.options.check
    }

    fn toolchain(&mut self) -> Result<Option<Toolchain>> {
        let toolchain = match Toolchain::find() {
            Ok(toolchain) => toolchain,
            Err(problem) if self.lacks("toolchain", &problem) => Toolchain::install(&mut self.apt)?,
            Err(_) => return Ok(None),
        };
        self.ok("toolchain", &toolchain.description);
        Ok(Some(toolchain))
    }

    fn linker(&mut self) -> Result<()> {
        let found = match linker::find() {
            Err(problem) if self.lacks("bpf-linker", &problem) => {
                linker::install(&mut self.apt)?;
                linker::find().map_err(anyhow::Error::msg)?
            }
            Err(_) => return Ok(()),
            Ok(found) => found,
        };
        self.ok("bpf-linker", &found);
        Ok(())
    }

    /// Only the running agent needs it, so that a failure does not stop a build.
    fn mount(&self, place: &str, kind: &str) {
        let mounted = || fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| is_mounted(&mounts, place, kind));
        if mounted() {
            return self.ok(kind, place);
        }
        let advice = format!("mount -t {kind} {kind} {place}");
        if self.options.check {
            println!("warning     {kind} is not mounted; as root: {advice}");
            return;
        }
        let mut mount = shell::command(if shell::is_root() { "mount" } else { "sudo" });
        if !shell::is_root() {
            // No password is asked for: who only builds needs no mounts.
            mount.args(["-n", "mount"]);
        }
        mount.args(["-t", kind, kind, place]).stdout(Stdio::null()).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) && mounted() {
            println!("mounted     {kind}: {place}");
        } else if !self.options.quiet {
            println!("warning     {kind} cannot be mounted; as root: {advice}");
        }
    }

    fn components(&mut self) -> Result<()> {
        for (name, component) in COMPONENTS {
            let works = || shell::capture(shell::cargo().args([name, "--version"]));
            let version = match works() {
                Ok(version) => version,
                Err(_) if self.lacks(component, "not in the toolchain") => {
                    println!("installing  {component}");
                    shell::run(shell::command("rustup").args(["component", "add", component]))?;
                    works()?
                }
                Err(_) => continue,
            };
            self.ok(component, version.trim());
        }
        Ok(())
    }

    fn programs(&mut self, wanted: &[(&str, &str)]) -> Result<()> {
        let absent: Vec<_> = wanted.iter().filter(|(program, _)| shell::find(program).is_none()).collect();
        let mut packages: Vec<&str> = absent.iter().map(|(_, package)| *package).collect();
        packages.dedup();
        for (program, package) in wanted {
            if packages.contains(package) {
                self.lacks(package, &format!("{program} is not installed"));
            } else {
                self.ok(package, program);
            }
        }
        self.missing.dedup();
        if packages.is_empty() || self.options.check {
            return Ok(());
        }
        if !Apt::usable() {
            bail!("the tests need more: {}", apt::by_hand(&packages));
        }
        println!("installing  {}", packages.join(" "));
        self.apt.install(&packages)?;
        self.ok("test programs", &packages.join(", "));
        Ok(())
    }

    /// Grafana's own parts, which check and draw its boards.
    fn boards(&mut self) -> Result<()> {
        if !boards::is_set_up() {
            if !self.lacks("packages of the boards", "not installed") {
                return Ok(());
            }
            println!("installing  packages of the boards");
            boards::set_up()?;
        }
        self.ok("packages of the boards", boards::FOLDER);
        Ok(())
    }

    fn kernel_clippy(&mut self, toolchain: &Toolchain) -> Result<()> {
        if !toolchain.has_clippy() {
            if !self.lacks("clippy for the kernel side", "not in the toolchain of the object") {
                return Ok(());
            }
            println!("installing  clippy for the kernel side");
            toolchain.install_clippy(&mut self.apt)?;
        }
        self.ok("clippy for the kernel side", "installed");
        Ok(())
    }

    fn cargo_deny(&mut self) -> Result<()> {
        if shell::find("cargo-deny").is_none() {
            if !self.lacks("cargo-deny", "not installed") {
                return Ok(());
            }
            println!("installing  cargo-deny, which takes some minutes");
            shell::run(shell::cargo().args(["install", "cargo-deny", "--locked"]))?;
        }
        self.ok("cargo-deny", "installed");
        Ok(())
    }
}

/// Whether the list of mounts has a file system of this type there. A folder there shows nothing to a user who may
/// not read it.
fn is_mounted(mounts: &str, place: &str, kind: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(place) && fields.next() == Some(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_its_place_and_type() {
        let mounts = "nodev /sys/kernel/tracing tracefs rw,relatime 0 0\nbpf /run/bpf bpf rw 0 0\n";
        assert!(is_mounted(mounts, "/sys/kernel/tracing", "tracefs"));
        assert!(!is_mounted(mounts, "/sys/fs/bpf", "bpf"));
        assert!(!is_mounted(mounts, "/sys/kernel/tracing", "bpf"));
    }
}
