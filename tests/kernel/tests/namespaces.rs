//! Databases in containers: mount, pid and user namespaces of their own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::{binary, compare, scaled, wait_for};

/// Rounds of a write and a sync.
const CALLS: u64 = 500;
const RULE: &str = "comm=stemedb-workloa*";

/// A shell in new namespaces, which prepares them and becomes the load `latency` on a directory.
fn in_namespaces(flags: &[&str], prepare: &str, dir: &Path) -> Result<Load> {
    let (dir, calls) = (dir.display(), scaled(CALLS));
    let script = format!("set -e; {prepare}; exec \"$0\" latency --dir {dir} --calls {calls} --threads 2");
    let mut command = Command::new("unshare");
    command.args(flags).args(["sh", "-c", &script]).arg(binary("stemedb-workload")?);
    Load::start_command(command)
}

fn compare_when_seen(agent: &Agent, load: &mut Load) -> Result<()> {
    wait_for("the agent to see the process", Duration::from_secs(10), || {
        agent.status().ok().filter(|status| status.targets[0].process_count > 0)
    })?;
    let tally = load.run()?;
    assert_eq!(tally.total_calls(), 2 * scaled(CALLS));
    compare::equal(&agent.status()?, &tally)
}

#[test]
fn a_private_mount_namespace_with_a_file_system_that_only_it_sees() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("data/wal")?;
    let agent = Agent::watch(RULE, &[("wal", &wal)])?;
    let data = mount.path().join("data");
    let prepare = format!("mount -t tmpfs tmpfs {0}; mkdir {0}/wal", data.display());
    let mut load = in_namespaces(&["--mount"], &prepare, &wal)?;
    compare_when_seen(&agent, &mut load)?;
    assert_eq!(std::fs::read_dir(&wal)?.count(), 0, "the agent's own view of that directory is another one");
    Ok(())
}

#[test]
fn a_mount_namespace_that_was_there_before_the_agent() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("data/wal")?;
    let data = mount.path().join("data");
    let prepare = format!("mount -t tmpfs tmpfs {0}; mkdir {0}/wal", data.display());
    let mut load = in_namespaces(&["--mount"], &prepare, &wal)?;
    let agent = Agent::watch(RULE, &[("wal", &wal)])?;
    compare_when_seen(&agent, &mut load)
}

#[test]
fn a_directory_in_two_mount_namespaces_is_measured_once() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    for name in ["1", "2", "3"] {
        std::fs::write(wal.join(name), "a segment")?;
    }
    let agent = Agent::watch(RULE, &[("wal", &wal)])?;
    let _load = in_namespaces(&["--mount"], "true", &wal)?;
    let files = || agent.status().ok().and_then(|status| status.classes[0].files.map(|files| (files, status)));
    wait_for("the load's own files to be measured", Duration::from_secs(30), || {
        files().filter(|(files, _)| *files > 3)
    })?;
    let (files, status) = files().context("not measured")?;
    assert_eq!(files, std::fs::read_dir(&wal)?.count() as u64);
    assert!(status.classes[0].rotations < 3, "what was there before is no rotation");
    Ok(())
}

#[test]
fn a_pid_namespace() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch(RULE, &[("wal", &wal)])?;
    let mut load = in_namespaces(&["--pid", "--fork", "--kill-child", "--mount-proc"], "true", &wal)?;
    compare_when_seen(&agent, &mut load)
}

#[test]
fn the_agent_does_not_keep_a_file_system_from_being_unmounted() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch(RULE, &[("wal", &wal)])?;
    let found = || agent.status().ok().map(|status| status.classes[0].found);
    // While it measures a directory, every ten seconds for a moment, it has it open.
    wait_for("the first measurement", Duration::from_secs(20), || agent.status().ok()?.classes[0].files)?;
    assert_eq!(found(), Some(true));
    let at = mount.path().to_owned();
    let status = Command::new("umount").arg(&at).status()?;
    assert!(status.success(), "umount while the agent watches");
    wait_for("the directory to be gone", Duration::from_secs(20), || found().filter(|found| !found))?;
    // So that the guard has something to unmount.
    stemedb_kernel_tests::fs::run(
        "mount",
        &["-t", "tmpfs", "tmpfs"].map(std::ffi::OsStr::new).into_iter().chain([at.as_os_str()]).collect::<Vec<_>>(),
    )
}
