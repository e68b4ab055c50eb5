//! What the agent does by itself, and what it says when it cannot keep up.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context as _, Result};
use stemedb_ebpf::files::MAX_FILES;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::outcome::Outcome;
use stemedb_kernel_tests::{compare, wait_for};
use stemedb_workload::{Op, Tally};

#[test]
fn the_wal_directory_is_found_among_the_open_files() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("data/wal")?;
    let mut load = Load::start(&["hold", "--dir", &wal.display().to_string()].map(str::to_owned))?;
    load.go()?;
    // No flag at all: the default target matches the load's name.
    let agent = Agent::start::<&str>(&[])?;
    let class = wait_for("the agent to find the directory", Duration::from_secs(30), || {
        let classes = agent.status().ok()?.classes;
        classes.into_iter().find(|class| class.pattern == wal.display().to_string() && class.found)
    })?;
    assert_eq!(class.class, "wal");
    assert!(class.origin.ends_with("is open"), "it says why: {}", class.origin);
    wait_for("a counted call", Duration::from_secs(10), || {
        let status = agent.status().ok()?;
        status.series.iter().find(|s| s.target == "stemedb" && s.class == "wal" && s.calls > 10).map(|_| ())
    })?;
    load.stop()
}

#[test]
fn a_wal_directory_of_another_name_is_guessed() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let journal = mount.dir("data/journal")?;
    let mut load = Load::start(&["hold", "--dir", &journal.display().to_string()].map(str::to_owned))?;
    load.go()?;
    let agent = Agent::start(&["--profile", "t:stemedb", "--target", &format!("t:pid={}", load.pid())])?;
    let class = wait_for("the agent to find the directory", Duration::from_secs(30), || {
        let classes = agent.status().ok()?.classes;
        classes.into_iter().find(|class| class.pattern == journal.display().to_string() && class.found)
    })?;
    assert_eq!(class.class, "wal");
    assert!(class.origin.contains("open for writing"), "it says why: {}", class.origin);
    load.stop()
}

#[test]
fn a_wal_directory_is_guessed_again_for_the_next_process() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let dirs = ["old/journal", "new/journal"].map(|dir| mount.dir(dir));
    let mut agent = None;
    for dir in dirs {
        let dir = dir?;
        let mut load = Load::start(&["hold", "--dir", &dir.display().to_string()].map(str::to_owned))?;
        load.go()?;
        if agent.is_none() {
            // By its name: the next one is the same target's.
            agent = Some(Agent::start(&["--profile", "t:stemedb", "--target", "t:comm=stemedb-workloa*"])?);
        }
        let agent = agent.as_ref().context("started above")?;
        wait_for("the agent to find the directory", Duration::from_secs(30), || {
            let classes = agent.status().ok()?.classes;
            let is_it = |pattern: &str| pattern == dir.display().to_string();
            classes.into_iter().find(|class| class.class == "wal" && is_it(&class.pattern) && class.found)
        })?;
        let before = agent.status()?.calls("wal", "fdatasync");
        wait_for("a counted call", Duration::from_secs(10), || {
            (agent.status().ok()?.calls("wal", "fdatasync") > before).then_some(())
        })?;
        load.stop()?;
    }
    Ok(())
}

#[test]
fn more_unsynced_files_than_the_kernel_side_holds() -> Result<()> {
    const FILES: u64 = MAX_FILES as u64 * 5 / 4;
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?;
    let mut tally = Tally::new();
    for i in 0..FILES {
        tally.on("wal").write(&File::create(wal.join(i.to_string()))?, b"x")?;
    }
    let missing = wait_for("the loss to be told", Duration::from_secs(20), || {
        let lost = agent.status().ok()?.lost;
        Some(lost["pending_full"] + lost["pending_swept"]).filter(|n| *n > 0)
    })?;
    let status = agent.status()?;
    assert_eq!(status.calls("wal", "write"), FILES, "calls and bytes are exact all the same");
    assert_eq!(status.bytes("wal", "write"), FILES);
    assert!(missing <= FILES);
    // And there is room for others: after a while a new file's group is whole again.
    wait_for("a whole group", Duration::from_secs(30), || {
        let file = File::create(wal.join("late")).ok()?;
        tally.on("wal").write(&file, b"xyz").ok()?;
        tally.on("wal").fsync(&file).ok()?;
        let status = agent.status().ok()?;
        let series = status.writes.iter().find(|series| series.class == "wal")?;
        ((series.group_writes.sum, series.group_bytes.sum) == (1, 3)).then_some(())
    })?;
    Ok(())
}

#[test]
fn an_agent_that_is_held_up_loses_events_and_no_calls() -> Result<()> {
    const PROCESSES: u64 = 12_000;
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let args = [
        "short",
        "--dir",
        &wal.display().to_string(),
        "--count",
        &PROCESSES.to_string(),
        "--fork",
        "--concurrency",
        "4",
    ];
    let mut load = Load::start(&args.map(str::to_owned))?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    agent.signal(libc::SIGSTOP)?;
    let tally = load.run();
    agent.signal(libc::SIGCONT)?;
    let tally = tally?;
    assert_eq!(tally.calls("wal", Op::Write), PROCESSES);
    let status = agent.status()?;
    assert!(status.lost["events_full"] > 0, "the ring holds fewer events than there were");
    assert_eq!(compare::differences(&status, &tally)?, Vec::<String>::new());
    wait_for("the table of processes to be right again", Duration::from_secs(30), || {
        agent.status().ok().filter(|status| status.targets[0].process_count == 1)
    })?;
    Ok(())
}

#[test]
fn a_database_that_is_busy_while_the_agent_starts_loses_nothing() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let args = ["hold", "--dir", &wal.display().to_string(), "--threads", "4"].map(str::to_owned);
    let mut load = Load::start(&args)?;
    load.go()?;
    for _ in 0..5 {
        let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
        wait_for("calls", Duration::from_secs(10), || {
            agent.status().ok().filter(|status| status.calls("wal", "fdatasync") > 1000)
        })?;
        let status = agent.status()?;
        assert!(status.losses().is_empty(), "{:?}", status.losses());
    }
    load.stop()
}

#[test]
fn every_capability_is_on_where_the_tests_run() -> Result<()> {
    let report: serde_json::Value = serde_json::from_str(&Outcome::of_probe(&["doctor", "--json"])?.stdout)?;
    let capabilities = report["capabilities"].as_array().cloned().unwrap_or_default();
    assert!(capabilities.len() >= 7, "{report:#}");
    for capability in capabilities {
        // libaio needs fentry, which a kernel may refuse by its lockdown, and only so.
        let is_aio = capability["capability"] == "aio";
        let why = capability["why"].as_str().unwrap_or_default();
        let allowed = is_aio && why.contains("Operation not permitted");
        assert!(capability["hook"].is_string() || allowed, "{capability:#}");
    }
    Ok(())
}
