//! The guest's file system: programs with their libraries, the kernel's modules, and the plan.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use stemedb_vm_init::Plan;

use super::kernels::Kernel;
use super::programs::Programs;
use crate::{build, shell};

/// Programs that the tests and the first process start.
const TOOLS: &[&str] = &[
    "sh",
    "dd",
    "mkdir",
    "truncate",
    "sync", // what tests and their scripts use
    "mount",
    "umount",
    "losetup",
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.btrfs", // file systems
    "debugfs",
    "dumpe2fs",
    "xfs_db",
    "fstrim",
    "fsfreeze", // what is in them
    "addpart",
    "dmsetup",
    "blockdev",
    "modprobe",
    "ip", // devices
    "unshare",
    "prlimit", // namespaces and limits
];
/// Settings of theirs.
const SETTINGS: &[&str] = &["/etc/mke2fs.conf"];
/// Folders of Debian that are links into /usr.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];
/// Where the guest has our own programs.
const OURS: &str = "/stemedb";
/// Size of the file system, most of it free: the tests' own images are in it. The file is sparse.
const SIZE: &str = "6G";

/// Makes the file system in a folder, and gives its place.
pub(crate) fn make(kernel: &Kernel, plan: &Plan, programs: &Programs, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    shell::remove_folder(&root)?;
    fs::create_dir_all(&root)?;
    let mut tree = Tree { root: root.clone(), libraries: BTreeSet::new() };
    tree.skeleton()?;
    tree.ours(plan, programs)?;
    for tool in TOOLS {
        let path = shell::find(tool).with_context(|| format!("{tool} is not installed: cargo xtask setup --vm"))?;
        tree.program(&path, &real(&path)?)?;
    }
    for file in SETTINGS {
        tree.file(Path::new(file), Path::new(file))?;
    }
    tree.modules(kernel)?;
    let image = folder.join("root.ext4");
    if image.exists() {
        fs::remove_file(&image)?;
    }
    let mut mkfs = shell::command("mkfs.ext4");
    mkfs.args(["-q", "-F", "-E", "root_owner=0:0", "-d"]).args([&root, &image]).arg(SIZE);
    shell::run(&mut mkfs)?;
    fs::remove_dir_all(&root)?;
    Ok(image)
}

/// The plan with the places that programs have in the guest.
fn as_in_guest(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.binaries = OURS.into();
    for test in &mut plan.tests {
        test.program = Path::new(OURS).join(&test.suite);
    }
    plan
}

/// The guest's files before they are an image.
struct Tree {
    root: PathBuf,
    /// Libraries that are there already.
    libraries: BTreeSet<PathBuf>,
}

impl Tree {
    fn at(&self, place: &Path) -> PathBuf {
        self.root.join(place.strip_prefix("/").unwrap_or(place))
    }

    fn skeleton(&self) -> Result<()> {
        for folder in ["etc", "root", "tmp", "stemedb"] {
            fs::create_dir_all(self.root.join(folder))?;
        }
        fs::set_permissions(self.root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        for name in MERGED {
            fs::create_dir_all(self.root.join("usr").join(name))?;
            symlink(Path::new("usr").join(name), self.root.join(name))?;
        }
        Ok(fs::write(self.root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?)
    }

    fn ours(&mut self, plan: &Plan, programs: &Programs) -> Result<()> {
        let top = shell::root();
        for path in [build::AGENT, build::WORKLOAD, build::VM_INIT] {
            let name = Path::new(path).file_name().context("a program without a name")?;
            self.program(&top.join(path), &Path::new(OURS).join(name))?;
        }
        let suites: BTreeSet<&str> = plan.tests.iter().map(|test| test.suite.as_str()).collect();
        for suite in suites {
            self.program(programs.path(suite)?, &Path::new(OURS).join(suite))?;
        }
        let plan = serde_json::to_string(&as_in_guest(plan))?;
        Ok(fs::write(self.at(&Path::new(OURS).join("plan.json")), plan)?)
    }

    /// A program and the libraries that it is linked with.
    fn program(&mut self, from: &Path, place: &Path) -> Result<()> {
        self.file(from, place)?;
        let said = shell::capture(shell::command("ldd").arg(from))?;
        for library in libraries(&said) {
            let place = real(&library)?;
            if self.libraries.insert(place.clone()) {
                self.file(&library, &place)?;
            }
        }
        Ok(())
    }

    fn file(&self, from: &Path, place: &Path) -> Result<()> {
        let to = self.at(place);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        Ok(())
    }

    /// All of them: which one asks for which is for the kernel to say.
    fn modules(&self, kernel: &Kernel) -> Result<()> {
        let to = self.root.join("usr/lib/modules");
        fs::create_dir_all(&to)?;
        shell::run(shell::command("cp").arg("-r").arg(kernel.root.join("lib/modules").join(&kernel.release)).arg(to))
    }
}

/// The place of a file whose folder may be a link; its own name is kept, because programs act by it.
fn real(path: &Path) -> Result<PathBuf> {
    let (folder, name) = path.parent().zip(path.file_name()).with_context(|| path.display().to_string())?;
    let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    Ok(folder.join(name))
}

/// The files in what `ldd` says.
fn libraries(said: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let line = line.split_once("=>").map_or(line, |(_, path)| path);
        let path = line.split_whitespace().next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    said.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_names() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(said), paths);
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
