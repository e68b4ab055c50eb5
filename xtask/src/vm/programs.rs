//! The test programs: which belong in the matrix, where cargo has built them, and which tests are in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;
use stemedb_vm_init::Test;

use crate::shell;

/// A test program of tests/kernel.
struct Suite {
    /// Its name, as in `tests/kernel/tests/NAME.rs`.
    name: &'static str,
    /// Where it runs.
    place: Place,
    /// In how many modes: what it tests differs between the first of them, and not after.
    modes: usize,
}

/// Where a test program can show something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// A processor in software is slow: it has what differs from kernel to kernel.
    Host,
    /// Device-mapper and the like are modules of Debian's kernels.
    Guests,
}

/// The test programs that show something about a kernel. The others are about the agent's own surface.
const SUITES: &[Suite] = &[
    Suite { name: "exact", place: Place::Anywhere, modes: 3 },
    Suite { name: "short_lives", place: Place::Anywhere, modes: 2 },
    Suite { name: "files", place: Place::Anywhere, modes: 2 },
    Suite { name: "errors", place: Place::Anywhere, modes: 2 },
    Suite { name: "uring", place: Place::Anywhere, modes: 1 },
    Suite { name: "durable", place: Place::Anywhere, modes: 2 },
    Suite { name: "mapped", place: Place::Anywhere, modes: 2 },
    Suite { name: "block", place: Place::Anywhere, modes: 1 },
    Suite { name: "phases", place: Place::Anywhere, modes: 1 },
    Suite { name: "aio", place: Place::Anywhere, modes: 2 },
    Suite { name: "attach", place: Place::Anywhere, modes: 2 },
    Suite { name: "vm_disks", place: Place::Guests, modes: 1 },
    Suite { name: "namespaces", place: Place::Host, modes: 1 },
    Suite { name: "leaving", place: Place::Host, modes: 1 },
    Suite { name: "quantiles", place: Place::Host, modes: 1 },
];

/// What tests begin with that are not for guests: no disk is quiet there, and fio, which tests start many times, is slow. Of block
/// I/O, what kernels do alike.
const HOST_ONLY: &[&str] = &[
    "quantiles_",
    "fio_",
    "a_bystanders_",
    "a_class_directory_",
    "a_crowd_",
    "a_file_system_that_fills_",
    "a_limit_of_a_cgroup_",
    "are_there_",
    "behind_a_disk_that_does_not",
    "behind_others_",
    "logs_of_other_file_systems_",
    "without_the_",
    "without_block_io_",
    "discards_",
    "of_btrfs",
    "of_ext4_without_one",
    "partitions_",
    "under_a_mixed_load_on_ext4_",
    "under_a_mixed_load_on_xfs",
];

/// Test programs by name.
pub(crate) struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// One program that is no test.
    pub(crate) fn only(name: &str, path: PathBuf) -> Self {
        Self(BTreeMap::from([(name.to_owned(), path)]))
    }

    /// Builds them.
    pub(crate) fn build() -> Result<Self> {
        let mut cargo = shell::cargo();
        cargo.args(["test", "--no-run", "--release", "--target-dir", "target", "-p", "stemedb-kernel-tests"]);
        cargo.args(["--features", "vm", "--message-format=json-render-diagnostics", "--quiet"]);
        cargo.stderr(std::process::Stdio::inherit());
        Ok(Self(executables(&shell::capture(&mut cargo)?)))
    }

    /// Where one is.
    pub(crate) fn path(&self, suite: &str) -> Result<&Path> {
        let path = self.0.get(suite).map(PathBuf::as_path);
        path.with_context(|| format!("cargo has built no test program {suite}"))
    }

    /// The tests of the matrix; those that the host's kernel can run, or all.
    pub(crate) fn tests(&self, host: bool) -> Result<Vec<Test>> {
        let mut tests = Vec::new();
        let elsewhere = if host { Place::Guests } else { Place::Host };
        for suite in SUITES.iter().filter(|suite| suite.place != elsewhere) {
            let program = self.path(suite.name)?;
            let list = |which: &[&str]| {
                shell::capture(shell::command(program).args(["--list", "--format", "terse"]).args(which))
            };
            let (all, ignored) = (list(&[])?, list(&["--ignored"])?);
            let test = |name: &str| Test::function(suite.name, name, program.into(), suite.modes);
            let runs = |name: &&str| !names(&ignored).any(|other| other == *name) && (host || !is_for_hosts(name));
            tests.extend(names(&all).filter(runs).map(test));
        }
        Ok(tests)
    }
}

/// Whether a test, whose name may have its modules before it, is not for guests.
fn is_for_hosts(name: &str) -> bool {
    let own = name.rsplit("::").next().unwrap_or(name);
    HOST_ONLY.iter().any(|begin| own.starts_with(begin))
}

/// The test programs in cargo's messages.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let message = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let target = &message["target"];
        let test = target["kind"].as_array()?.iter().any(|kind| kind == "test");
        test.then_some((target["name"].as_str()?.to_owned(), message["executable"].as_str()?.into()))
    };
    messages.lines().filter_map(message).collect()
}

/// The tests in the list that a test program prints.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_suffix(": test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_has_its_file() {
        for suite in SUITES {
            let file = shell::root().join("tests/kernel/tests").join(suite.name).with_extension("rs");
            assert!(file.exists(), "{}", file.display());
        }
    }

    #[test]
    fn only_integration_tests_are_taken_from_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"lib"},"executable":"/t/lib-1"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"exact"},"executable":"/t/exact-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executables(messages), BTreeMap::from([("exact".into(), "/t/exact-1".into())]));
    }

    #[test]
    fn benchmarks_are_no_tests() {
        assert_eq!(names("a: test\nmod::b: test\nc: benchmark\n").collect::<Vec<_>>(), ["a", "mod::b"]);
    }
}
