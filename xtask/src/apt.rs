//! Debian's packages.

use anyhow::{Context as _, Result};

use crate::shell;

/// Installs packages; reads the package lists anew before the first.
#[derive(Default)]
pub(crate) struct Apt {
    updated: bool,
}

impl Apt {
    /// Whether this machine has apt-get, and this user may use it.
    pub(crate) fn usable() -> bool {
        shell::find("apt-get").is_some() && (shell::is_root() || shell::find("sudo").is_some())
    }

    /// Installs packages without what they only recommend, and without starting their services.
    pub(crate) fn install(&mut self, packages: &[&str]) -> Result<()> {
        self.update()?;
        let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
        Self::apt_get(&install).with_context(|| by_hand(packages))
    }

    /// Reads the package lists anew, unless that has been done.
    pub(crate) fn update(&mut self) -> Result<()> {
        if !self.updated {
            Self::apt_get(&["update"])?;
            self.updated = true;
        }
        Ok(())
    }

    fn apt_get(arguments: &[&str]) -> Result<()> {
        let mut command = shell::privileged("env")?;
        command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"]).args(arguments);
        shell::run(&mut command)
    }
}

/// What to type where this program cannot install packages itself.
pub(crate) fn by_hand(packages: &[&str]) -> String {
    format!("install by hand: apt-get install --no-install-recommends {}", packages.join(" "))
}
