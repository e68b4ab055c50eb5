use std::process::Command;

use anyhow::Result;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::binary;
use stemedb_kernel_tests::compare;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;

/// The load of `exact.rs`, in directories whose names are all that the agent knows. It has a name of its own, because
/// StemeDB's is also that of every other load on this machine; a copy, so that its children have it too.
fn exact(files: &[&str]) -> Result<()> {
    let mount = Mount::new("ext4")?;
    let name = format!("db-{}", std::process::id());
    let program = mount.path().join(&name);
    std::fs::copy(binary("stemedb-workload")?, &program)?;
    let agent = Agent::start(&[&["--target", &format!("t:comm={name}")], files].concat())?;
    let mut command = Command::new(program);
    command.args(["exact", "--processes", "2", "--threads", "4", "--calls", "16000"]);
    for (class, dir) in [("wal", "data/wal/shard-1"), ("store", "data/store"), ("other", "data/walrus")] {
        command.arg("--dir").arg(format!("{class}={}", mount.dir(dir)?.display()));
    }
    let tally = Load::start_command(command)?.run()?;
    compare::equal(&agent.status()?, &tally)
}

#[test]
fn stemedb_by_its_profile() -> Result<()> {
    exact(&["--profile", "t:stemedb"])
}

#[test]
fn a_directory_by_its_name_only() -> Result<()> {
    exact(&["--class", "t:wal=wal/", "--class", "t:store=store/"])
}
