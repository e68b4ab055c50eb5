//! In which stage the time is.

use std::ffi::OsStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::block::{Device, DiskStats};
use stemedb_kernel_tests::fs::{Frozen, Mount, run};
use stemedb_kernel_tests::load::Load;

/// How long the disk does nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// What a request waits at least that comes while it does: the threads need some time to come.
const MOST: Duration = Duration::from_millis(250);

/// A loop device whose backing file system is frozen has all its tags in its own hands: those requests are at the device, and all
/// that come after wait for it in the scheduler.
#[test]
fn behind_a_disk_that_stands_still() -> Result<()> {
    let below = Mount::new("ext4")?;
    let mount = Mount::on(&below, "256M")?;
    let device = Device::below(mount.path())?;
    let _scheduler = device.set("queue/scheduler", "mq-deadline")?;
    // A request for each call.
    let _merging = device.set("queue/nomerges", "2")?;
    let tags: u64 = device.attribute("mq/0/nr_tags")?.parse()?;
    let threads = tags + 64;
    let wal = mount.dir("wal")?;
    let args = ["disk", "--dir", &wal.display().to_string(), "--way", "direct", "--calls", "1", "--size", "4096"]
        .map(str::to_owned);
    let mut load = Load::start(&[&args[..], &["--threads".into(), threads.to_string()]].concat())?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    run("sync", &[] as &[&OsStr])?;
    DiskStats::at_rest(&device.name)?;
    let frozen = Frozen::new(below.path())?;
    load.go()?;
    thread::sleep(PAUSE);
    drop(frozen);
    load.tally()?;
    DiskStats::at_rest(&device.name)?;
    let status = agent.status()?;
    let stage = |name| status.disks.stage("t", &device.name, "write", name).context("no latency");
    let (queue, at_device) = (stage("queue")?, stage("device")?);
    let (waited, worked) = (queue.at_least(MOST), at_device.at_least(MOST));
    println!("{tags} tags, {threads} threads: {waited} waited in the queue, {worked} at the device");
    // Of what the file system itself adds, some may wait as well.
    ensure!((tags - 4..=tags).contains(&worked), "{worked} at the device, which has {tags} tags");
    ensure!((64 - 4..=64 + 16).contains(&waited), "{waited} in the queue, not 64");
    let all = Duration::from_nanos(queue.sum_ns + at_device.sum_ns);
    ensure!(all >= MOST * u32::try_from(threads)?, "{all:?}");
    Ok(())
}

/// The same without anything that stands still.
#[test]
fn behind_a_disk_that_does_not() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let device = Device::below(mount.path())?;
    let wal = mount.dir("wal")?;
    let args = ["disk", "--dir", &wal.display().to_string(), "--way", "direct", "--calls", "500", "--size", "4096"]
        .map(str::to_owned);
    let mut load = Load::start(&args)?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    load.run()?;
    let status = agent.status()?;
    let stage = |name| status.disks.stage("t", &device.name, "write", name).context("no latency");
    let (queue, at_device) = (stage("queue")?, stage("device")?);
    println!("queue {} ns, device {} ns", queue.sum_ns, at_device.sum_ns);
    ensure!(queue.sum_ns * 2 < at_device.sum_ns, "one request at a time does not wait for others");
    Ok(())
}
