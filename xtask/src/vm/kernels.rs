//! Kernels as Debian packages: which one is the newest, and where it is unpacked.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::apt::Apt;
use crate::shell;

/// What a package with a kernel for virtual machines is named, around its version.
const PACKAGE: (&str, &str) = ("linux-image-", "-cloud-amd64-unsigned");

/// A kernel that is unpacked.
pub(crate) struct Kernel {
    /// As it was asked for: `6.12`.
    pub(crate) asked: String,
    /// The kernel's own name of its version.
    pub(crate) release: String,
    /// The package's version.
    pub(crate) version: String,
    /// Where the package is unpacked.
    pub(crate) root: PathBuf,
}

impl Kernel {
    /// What is booted.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// Finds the newest package of a version; fetches and unpacks it where that has not been done.
    pub(crate) fn fetch(asked: &str, apt: &mut Apt) -> Result<Self> {
        let package = package(asked, apt)?;
        let uris = |package: &str| {
            let answer = shell::capture(shell::command("apt-get").args(["download", "--print-uris", package]))?;
            file_name(&answer).with_context(|| format!("apt-get knows no file of {package}: {answer:?}"))
        };
        let file = uris(&package)?;
        let version = file.split('_').nth(1).with_context(|| format!("{file} has no version"))?.to_owned();
        let cache = cache()?;
        let root = cache.join(file.trim_end_matches(".deb"));
        if root.exists() {
            println!("cached      {package} {version}");
        } else {
            println!("fetching    {package} {version}");
            unpack(&package, &cache, &root).with_context(|| format!("cannot fetch {package}"))?;
        }
        let release = release(&root)?;
        Ok(Self { asked: asked.to_owned(), release, version, root })
    }
}

/// The newest package of a version. Where apt knows none, its lists may be old or empty.
fn package(asked: &str, apt: &mut Apt) -> Result<String> {
    let find = || {
        let prefix = format!("{}{asked}", PACKAGE.0);
        let names = shell::capture(shell::command("apt-cache").args(["pkgnames", &prefix]))?;
        Ok::<_, anyhow::Error>(newest(names.lines(), asked).map(str::to_owned))
    };
    if let Some(name) = find()? {
        return Ok(name);
    }
    apt.update()?;
    match find()? {
        Some(name) => Ok(name),
        None => bail!(
            "apt knows no package {}{asked}*{}: `apt-cache search {}` lists them",
            PACKAGE.0,
            PACKAGE.1,
            PACKAGE.1
        ),
    }
}

/// The name with the highest version among those that a version stands for: `6.1` is `6.1.0-56`, and not `6.12.1`.
fn newest<'a>(names: impl Iterator<Item = &'a str>, asked: &str) -> Option<&'a str> {
    let fits = |name: &str| {
        let rest = name.strip_prefix(PACKAGE.0)?.strip_suffix(PACKAGE.1)?.strip_prefix(asked)?;
        Some(!rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    names.filter(|name| fits(name) == Some(true)).max_by_key(|name| numbers(name))
}

/// The numbers in a text, by which versions are ordered.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|character: char| !character.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The file in the answer of `apt-get download --print-uris`: `'URI' FILE SIZE HASH`.
fn file_name(answer: &str) -> Option<String> {
    let line = answer.lines().find(|line| line.starts_with('\''))?;
    line.split(' ').nth(1).map(str::to_owned)
}

/// The folder for what is fetched; outside of the source tree, which may be removed or be one of many.
fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base =
        base.or_else(|| Some(env::home_dir()?.join(".cache"))).context("neither XDG_CACHE_HOME nor HOME is set")?;
    let cache = base.join("stemedb-probe/kernels");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}

/// Fetches and unpacks into a folder that takes its name only when it is whole.
fn unpack(package: &str, cache: &Path, root: &Path) -> Result<()> {
    let folder = tempfile::Builder::new().prefix(".partial-").tempdir_in(cache)?;
    // apt-get looks for the sum of what it has fetched, and leaves a file that is whole or none.
    shell::run(shell::command("apt-get").args(["-q", "download", package]).current_dir(folder.path()))?;
    let entries = fs::read_dir(folder.path())?.collect::<Result<Vec<_>, _>>()?;
    let archive = entries.first().context("apt-get has fetched nothing")?.path();
    let whole = folder.path().join("root");
    shell::run(shell::command("dpkg").arg("-x").arg(archive).arg(&whole))?;
    shell::run(shell::command("depmod").arg("-b").arg(&whole).arg(release(&whole)?))?;
    fs::rename(&whole, root).with_context(|| format!("cannot make {}", root.display()))
}

/// The kernel's release, after which the folder of its modules is named.
fn release(root: &Path) -> Result<String> {
    let modules = root.join("lib/modules");
    let entry = fs::read_dir(&modules).ok().and_then(|mut entries| entries.next()?.ok());
    let name = entry.and_then(|entry| entry.file_name().into_string().ok());
    name.with_context(|| format!("{} has no kernel's modules", modules.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] = [
        "linux-image-6.1.0-9-cloud-amd64-unsigned",
        "linux-image-6.1.0-56-cloud-amd64-unsigned",
        "linux-image-6.1.0-57-cloud-amd64",
        "linux-image-6.12.117+deb12-cloud-amd64-unsigned",
        "linux-image-6.12.99+deb12-cloud-amd64-unsigned",
        "linux-image-6.12.118+deb12-amd64-unsigned",
        "linux-image-6.12-cloud-amd64-dbg",
    ];

    #[test]
    fn the_newest_of_a_version_is_taken_by_number() {
        let newest = |asked| newest(NAMES.into_iter(), asked);
        assert_eq!(newest("6.1"), Some(NAMES[1]));
        assert_eq!(newest("6.12"), Some(NAMES[3]));
        assert_eq!(newest("6.12.99"), Some(NAMES[4]));
        assert_eq!(newest("6.1.0-9"), Some(NAMES[0]));
        assert_eq!(newest("6"), Some(NAMES[3]));
        assert_eq!(newest("5.10"), None);
    }

    #[test]
    fn the_file_is_in_the_answer_of_apt() {
        let answer = "Reading...\n'http://host/a_1_amd64.deb' a_1%3a2_amd64.deb 267 SHA256:7ff7\n";
        assert_eq!(file_name(answer).unwrap(), "a_1%3a2_amd64.deb");
        assert_eq!(file_name(""), None);
    }
}
