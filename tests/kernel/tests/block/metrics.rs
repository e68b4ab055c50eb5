//! The exposition of block I/O: every metric of the catalogue is there, with its labels.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::exposition::parse;
use stemedb_kernel_tests::fs::{Mount, run};
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::outcome::Outcome;
use stemedb_kernel_tests::{binary, prometheus::promtool_complaints};

#[test]
fn are_there_with_their_labels() -> Result<()> {
    let outcome = Outcome::of(Command::new(binary("stemedb-probe")?).args(["metrics", "--json"]))?;
    let catalogue: Vec<Value> = serde_json::from_str(&outcome.stdout).context("the catalogue")?;
    // A disk that fails has everything.
    let mount = Mount::failing("8M", "64M")?;
    let wal = mount.dir("wal")?;
    let args = ["disk", "--dir", &wal.display().to_string(), "--way", "late", "--calls", "800"].map(str::to_owned);
    let mut load = Load::start(&args)?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    load.go()?;
    load.half_time()?;
    let _ = run("sync", &["-f".as_ref(), wal.as_os_str()]);
    load.go()?;
    load.tally()?;
    let text = agent.get("/metrics", "")?;
    let families = parse(&text)?;
    let ours = |name: &str| name.starts_with("stemedb_disk_") || name.starts_with("stemedb_writeback_");
    let mut seen = 0;
    for metric in catalogue.iter().filter(|metric| metric["name"].as_str().is_some_and(ours)) {
        let name = metric["name"].as_str().context("a name")?;
        let family = families.iter().find(|family| family.name == name).with_context(|| format!("no {name}"))?;
        let labels: Vec<&str> = metric["labels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for sample in &family.samples {
            let has: Vec<&str> = sample.labels.iter().map(|(label, _)| label.as_str()).collect();
            let has: Vec<&str> = has.into_iter().filter(|label| *label != "le").collect();
            ensure!(has == labels, "{name}: {has:?}, not {labels:?}");
        }
        seen += 1;
    }
    ensure!(seen == 8, "{seen} metrics");
    let complaints = promtool_complaints(&text)?;
    // That name is what operators have asked for.
    ensure!(complaints.iter().all(|line| line.contains("_segments_count ")), "{complaints:?}");
    Ok(())
}
