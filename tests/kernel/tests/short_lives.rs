//! Processes that are there for less than a millisecond, and those that become targets while they run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::{binary, compare, scaled, wait_for};
use stemedb_workload::{Op, Tally};

const PROCESSES: u64 = 2000;

/// Runs `short` with more arguments under an agent that watches `rule`, and compares.
fn short(rule: &str, args: &[&str]) -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch(rule, &[("wal", &wal)])?;
    let mut load = Load::start(&short_args(&wal, args))?;
    compare_short(&agent, &mut load)
}

fn short_args(dir: &Path, args: &[&str]) -> Vec<String> {
    let (dir, count) = (dir.display().to_string(), scaled(PROCESSES).to_string());
    let all = ["short", "--dir", &dir, "--count", &count, "--concurrency", "4"];
    all.iter().chain(args).map(ToString::to_string).collect()
}

fn compare_short(agent: &Agent, load: &mut Load) -> Result<()> {
    let tally = load.run()?;
    assert_eq!(tally.calls("wal", Op::Fsync), scaled(PROCESSES), "the load did what it was told");
    compare::equal(&agent.status()?, &tally)
}

#[test]
fn exec_by_comm() -> Result<()> {
    short("comm=shortlived", &["--comm", "shortlived"])
}

#[test]
fn exec_by_path_of_the_executable() -> Result<()> {
    let path = binary("stemedb-workload")?;
    short(&format!("exe={}*", path.parent().context("no folder")?.join("stemedb-w").display()), &[])
}

#[test]
fn a_name_taken_after_the_start() -> Result<()> {
    short("comm=renamed-[a-z]*", &["--rename", "renamed-one"])
}

#[test]
fn fork_without_exec() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let mut load = Load::start(&short_args(&wal, &["--fork"]))?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    compare_short(&agent, &mut load)
}

/// A cgroup of the unified hierarchy, removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        let root = mounts.lines().find(|line| line.contains(" cgroup2 ")).and_then(|line| line.split(' ').nth(1));
        let path = Path::new(root.context("cgroup v2 is not mounted")?).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn enter(&self, pid: u32) -> Result<()> {
        Ok(std::fs::write(self.0.join("cgroup.procs"), pid.to_string())?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_cgroup_that_is_made_while_the_agent_runs() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch("cgroup=*/stemedb-new-*", &[("wal", &wal)])?;
    let cgroup = Cgroup::new("stemedb-new")?;
    // The shell moves itself, then becomes the load: its children begin in the cgroup.
    let script = format!("echo $$ > {}/cgroup.procs; exec \"$0\" \"$@\"", cgroup.0.display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(binary("stemedb-workload")?).args(short_args(&wal, &[]));
    let mut load = Load::start_command(command)?;
    compare_short(&agent, &mut load)
}

#[test]
fn a_cgroup_that_was_there_before_and_a_process_that_moves_in_and_out() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let cgroup = Cgroup::new("stemedb-old.service")?;
    let agent = Agent::watch("unit=stemedb-old.service-*", &[("wal", &wal)])?;
    let args = ["hold", "--dir", &wal.display().to_string()].map(str::to_owned);
    let mut load = Load::start(&args)?;
    let seen = || Ok::<_, anyhow::Error>(agent.status()?.calls("wal", "fdatasync"));
    load.go()?;
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(seen()?, 0, "outside of the cgroup it is nobody's");
    cgroup.enter(load.pid())?;
    let inside = wait_for("a call inside", Duration::from_secs(10), || seen().ok().filter(|calls| *calls > 100))?;
    let root = cgroup.0.parent().context("no root")?;
    std::fs::write(root.join("cgroup.procs"), load.pid().to_string())?;
    std::thread::sleep(Duration::from_millis(50));
    let left = seen()?;
    std::thread::sleep(Duration::from_millis(200));
    assert!(left >= inside && seen()? == left, "after it has left, nothing is counted");
    Ok(())
}

/// Writes and syncs a file of its own.
fn write_and_sync(dir: &Path, name: &str) -> std::io::Result<Tally> {
    let file = File::create(dir.join(name))?;
    let mut tally = Tally::new();
    for _ in 0..100 {
        tally.on("wal").write(&file, b"entry")?;
        tally.on("wal").fsync(&file)?;
    }
    Ok(tally)
}

#[test]
fn threads_made_before_and_after_attach() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let dir = wal.clone();
    let before = std::thread::spawn(move || wait.recv().map(|()| write_and_sync(&dir, "before")));
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?;
    let dir = wal.clone();
    let after = std::thread::spawn(move || write_and_sync(&dir, "after"));
    go.send(())?;
    let mut tally = before.join().ok().context("the first thread")???;
    tally.merge(&after.join().ok().context("the second thread")??);
    let status = agent.status()?;
    assert_eq!(status.calls("wal", "write"), tally.calls("wal", Op::Write));
    assert_eq!(status.calls("wal", "fsync"), 200);
    assert!(status.losses().is_empty(), "{:?}", status.losses());
    Ok(())
}

#[test]
fn a_child_that_runs_another_program_is_a_target_no_longer() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?;
    let status = Command::new("dd")
        .args(["if=/dev/zero", "bs=1k", "count=10", "status=none"])
        .arg(format!("of={}", wal.join("x").display()))
        .status()?;
    assert!(status.success());
    assert_eq!(agent.status()?.calls("wal", "write"), 0, "dd is another program");
    Ok(())
}
