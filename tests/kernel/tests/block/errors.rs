//! Failing disks: first the request fails, then the kernel records it against the file, and only then a system call tells.

use anyhow::{Context, Result, ensure};
use stemedb_ebpf::ops::Op;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::block::{Device, DiskStats};
use stemedb_kernel_tests::fs::{Mount, run};
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::tracefs::Recording;

/// A file of this much does not fit any more.
const CALLS: u64 = 800;

fn late(dir: &std::path::Path) -> Result<Load> {
    let args = ["disk", "--dir", &dir.display().to_string(), "--way", "late", "--calls", &CALLS.to_string()]
        .map(str::to_owned);
    Load::start(&args)
}

#[test]
fn a_request_then_the_file_then_the_call() -> Result<()> {
    let mount = Mount::failing("8M", "64M")?;
    let device = Device::below(mount.path())?;
    let (wal, other) = (mount.dir("wal")?, mount.dir("other")?);
    let mut target = late(&wal)?;
    let agent = Agent::watch(&format!("pid={}", target.pid()), &[("wal", &wal)])?;
    let recording = Recording::start("errors", &["block_rq_error"])?;
    target.go()?;
    target.half_time()?;
    // By the kernel's own threads. It may fail, too.
    let _ = run("sync", &["-f".as_ref(), other.as_os_str()]);
    DiskStats::at_rest(&device.name)?;
    let status = agent.status()?;
    let failed = |target: &str| status.disks.failed(|one| one.target == target && one.device == device.name);
    println!("{:?} {:?}", status.disks.errors, status.disks.writeback_errors);
    ensure!(failed("t") > 0 && status.disks.recorded("t", "wal") > 0, "no request of the target has failed");
    ensure!(status.errors.is_empty(), "no call has told yet: {:?}", status.errors);
    // Device, operation, class and error. Older loop devices make an I/O error of whatever they meet.
    let (error, errno) = match status.disks.errors.first().map(|one| one.error.as_str()) {
        Some("nospc") => ("nospc", libc::ENOSPC),
        _ => ("ioerr", libc::EIO),
    };
    let right = status.disks.failed(|one| {
        one.device == device.name && one.target == "t" && one.class == "wal" && one.op == "write" && one.error == error
    });
    ensure!(right == failed("t"), "{right} of {}: {:?}", failed("t"), status.disks.errors);
    // Every failed request is somebody's or nobody's, once.
    // A request that is told of a failed step of its flush ends once more, without a sector.
    let events = recording.of(&device)?.iter().filter(|event| event.sectors != 0).count() as u64;
    let counted = status.disks.failed(|one| one.device == device.name);
    let missing = status.left_out();
    ensure!(
        counted <= events && counted + missing >= events,
        "{counted} failed requests, the kernel tells of {events}, {missing} left out"
    );
    target.go()?;
    let tally = target.tally()?;
    // What the kernel has recorded is what the disk said.
    ensure!(tally.errors("wal", Op::Fsync, errno) == 1, "the load's own fsync: {tally:?}");
    ensure!(agent.status()?.errors.iter().map(|one| one.count).sum::<u64>() == 1, "the call tells");
    Ok(())
}

#[test]
fn a_bystanders_are_not_the_targets() -> Result<()> {
    let mount = Mount::failing("8M", "64M")?;
    let device = Device::below(mount.path())?;
    let (wal, other) = (mount.dir("wal")?, mount.dir("other")?);
    let (mut bystander, target) = (late(&other)?, late(&wal)?);
    let agent = Agent::watch(&format!("pid={}", target.pid()), &[("wal", &wal)])?;
    bystander.go()?;
    bystander.half_time()?;
    let _ = run("sync", &["-f".as_ref(), other.as_os_str()]);
    bystander.go()?;
    bystander.tally()?;
    DiskStats::at_rest(&device.name)?;
    let status = agent.status()?;
    let nobodys = status.disks.failed(|one| one.target.is_empty() && one.device == device.name);
    ensure!(nobodys > 0, "nothing has failed: {:?}", status.disks.errors);
    ensure!(status.disks.failed(|one| !one.target.is_empty()) == 0, "{:?}", status.disks.errors);
    ensure!(status.disks.writeback_errors.is_empty(), "{:?}", status.disks.writeback_errors);
    let metrics = agent.get("/metrics", "*/*")?;
    let none = "stemedb_writeback_errors_total{target=\"t\",class=\"wal\"} 0";
    metrics.lines().find(|line| *line == none).context("the first error would be no increase")?;
    Ok(())
}
