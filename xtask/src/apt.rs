//! Debian's packages.

use anyhow::{Context as _, Result};

use crate::shell;

/// Runs apt-get while no service may start or restart: the scripts of packages ask this file first
/// (`/usr/share/doc/init-system-helpers/README.policy-rc.d.gz`). One that is there already comes back.
const WITHOUT_SERVICES: &str = r#"
policy=/usr/sbin/policy-rc.d
restore() {
    rm -f "$policy"
    if [ -e "$policy.kept" ]; then mv "$policy.kept" "$policy"; fi
}
trap restore EXIT
trap 'exit 1' HUP INT TERM
if [ -e "$policy" ] && [ ! -e "$policy.kept" ]; then mv "$policy" "$policy.kept"; fi
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"
apt-get "$@"
"#;

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
        Self::run(&[&["sh", "-c", WITHOUT_SERVICES, "apt-get"], &install[..]].concat())
            .with_context(|| by_hand(packages))
    }

    /// Reads the package lists anew, unless that has been done.
    pub(crate) fn update(&mut self) -> Result<()> {
        if !self.updated {
            Self::run(&["apt-get", "update"])?;
            self.updated = true;
        }
        Ok(())
    }

    /// As root. (sudo takes the environment away.)
    fn run(words: &[&str]) -> Result<()> {
        shell::run(shell::privileged("env")?.arg("DEBIAN_FRONTEND=noninteractive").args(words))
    }
}

/// What to type where this program cannot install packages itself.
pub(crate) fn by_hand(packages: &[&str]) -> String {
    format!("install by hand: apt-get install --no-install-recommends {}", packages.join(" "))
}
