//! What is not known is `other`, and `doctor` says why.

use anyhow::{Context, Result, ensure};
use std::process::Command;

use stemedb_kernel_tests::binary;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::trace::{Call, Trace, sum, total};

use super::work::{file, rounds};

fn without(capability: &str) -> Result<Vec<Call>> {
    let mount = Mount::new("ext4")?;
    let (wal, file) = file(&mount)?;
    let trace = Trace::of(std::process::id(), &wal, &["--without", capability])?;
    rounds(&file, 50, 4096)?;
    let doctor = Command::new(binary("stemedb-probe")?).args(["doctor", "--without", capability]).output()?;
    let said = String::from_utf8(doctor.stdout)?;
    let (_, about) = said.split_once(&format!("\n{capability} ")).context("doctor does not name it")?;
    let about: Vec<&str> = about.lines().take(3).collect();
    ensure!(about[0].contains("OFF"), "{about:?}");
    ensure!(about[2].contains("left out by --without") && about[2].contains("other"), "{about:?}");
    let calls = trace.calls()?;
    ensure!(calls.len() == 50 && calls.iter().all(|call| call.parts() == call.total_ns));
    Ok(calls)
}

fn nothing_in(calls: &[Call], phases: &[&str]) -> Result<()> {
    for phase in phases {
        ensure!(sum(calls, phase) == 0, "{phase}: {} ns", sum(calls, phase));
    }
    Ok(())
}

#[test]
fn without_the_scheduler_all_is_other() -> Result<()> {
    let calls = without("sched")?;
    ensure!(sum(&calls, "other") == total(&calls));
    ensure!(calls.iter().all(|call| call.undivided));
    Ok(())
}

#[test]
fn without_the_functions_all_that_is_blocked_is_other() -> Result<()> {
    let calls = without("wait_sites")?;
    nothing_in(&calls, &["flush", "journal", "device", "queue"])?;
    ensure!(sum(&calls, "cpu") != 0 && sum(&calls, "other") * 2 > total(&calls));
    Ok(())
}

#[test]
fn without_block_io_the_disk_is_other() -> Result<()> {
    let calls = without("block")?;
    nothing_in(&calls, &["device"])?;
    ensure!(sum(&calls, "cpu") != 0 && sum(&calls, "other") != 0 && sum(&calls, "journal") != 0);
    Ok(())
}
