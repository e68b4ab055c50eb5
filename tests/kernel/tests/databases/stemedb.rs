use anyhow::Result;
use stemedb_kernel_tests::compare;
use stemedb_kernel_tests::databases;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;

/// The load of `exact.rs`, in directories whose names are all that the agent knows.
fn exact(profile: &[&str]) -> Result<()> {
    let mount = Mount::new("ext4")?;
    let agent = databases::agent(profile)?;
    let mut args = ["exact", "--processes", "2", "--threads", "4", "--calls", "16000"].map(str::to_owned).to_vec();
    for (class, dir) in [("wal", "data/wal/shard-1"), ("store", "data/store"), ("other", "data/walrus")] {
        args.extend(["--dir".to_owned(), format!("{class}={}", mount.dir(dir)?.display())]);
    }
    let tally = Load::start(&args)?.run()?;
    compare::equal(&agent.status()?, &tally)
}

#[test]
fn stemedb_by_its_profile() -> Result<()> {
    exact(&["--profile", "t:stemedb"])
}

#[test]
fn a_directory_by_its_name_only() -> Result<()> {
    exact(&["--target", "t:comm=stemedb-workloa*", "--class", "t:wal=wal/", "--class", "t:store=store/"])
}
