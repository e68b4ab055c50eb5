//! The recorded kernels, in `fixtures/NAME.btf`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use stemedb_probe::kernel::btf::{self, Resolution};
use stemedb_probe::kernel::syscalls::Arch;

/// One kernel's type information.
pub struct Fixture {
    /// Its name, which ends with its architecture.
    pub name: String,
    /// The file's content.
    pub bytes: Vec<u8>,
}

impl Fixture {
    /// All of them, by name.
    pub fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "btf") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                all.push(Self { name, bytes: std::fs::read(path)? });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The one of that name.
    pub fn named(name: &str) -> Result<Self> {
        let path = file(name);
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Self { name: name.to_owned(), bytes })
    }

    /// What the agent makes of it.
    pub fn resolve(&self) -> Result<Resolution> {
        Ok(btf::resolve_bytes(self.bytes.clone(), Path::new(&self.name), arch(&self.name)?)?)
    }

    /// The same kernel with another name in the place of every `name`, which it must have. Both are of one length.
    pub fn without(&self, name: &str) -> Result<Self> {
        let (old, mut bytes) = (format!("\0{name}\0").into_bytes(), self.bytes.clone());
        let Some(at) = bytes.windows(old.len()).position(|window| window == old) else {
            bail!("{} has no {name}", self.name)
        };
        bytes[at + name.len()] = b'~';
        Ok(Self { name: self.name.clone(), bytes })
    }
}

/// Where the fixtures are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The file of a fixture.
#[must_use]
pub fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.btf"))
}

/// The architecture, from a fixture's name.
pub fn arch(name: &str) -> Result<Arch> {
    match name.rsplit('-').next() {
        Some("amd64") => Ok(Arch::X86_64),
        Some("arm64") => Ok(Arch::Aarch64),
        _ => bail!("the name {name} does not end with -amd64 or -arm64"),
    }
}
