//! For each device, everything that is counted is what the kernel counts; and each byte is whose it is.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stemedb_ebpf::ops::Op;
use stemedb_kernel_tests::agent::{Agent, Status};
use stemedb_kernel_tests::block::{Counts, Device, DiskStats};
use stemedb_kernel_tests::fs::{Mount, Partitioned, Zram, run};
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::{scaled, wait_for};
use stemedb_workload::Tally;

/// A load by every way that is named, ready to begin.
fn load(dir: &Path, ways: &[&str], calls: u64, size: usize) -> Result<Load> {
    let mut args = vec!["disk".to_owned(), "--dir".into(), dir.display().to_string()];
    args.extend(["--calls".into(), calls.to_string(), "--size".into(), size.to_string()]);
    args.extend(ways.iter().flat_map(|way| ["--way".to_owned(), (*way).to_owned()]));
    Load::start(&args)
}

/// The agent for two targets by pid, each with its class directory.
fn watch(targets: &[(&str, &Load, &Path)]) -> Result<Agent> {
    let mut args = Vec::new();
    for (name, load, dir) in targets {
        args.extend(["--target".to_owned(), format!("{name}:pid={}", load.pid())]);
        args.extend(["--class".to_owned(), format!("{name}:wal={}", dir.display())]);
    }
    Agent::start(&args)
}

/// What the agent counted from one moment to another, once the device is at rest, against what the kernel did.
///
/// A run of a program that the kernel leaves out is a request that is not counted. The agent tells how many there were.
fn conserved(device: &str, before: &(DiskStats, Status), after: &(DiskStats, Status)) -> Result<DiskStats> {
    let kernel = after.0.since(before.0);
    let agent = after.1.disks.sum(device).since(before.1.disks.sum(device));
    let losses = after.1.losses();
    println!("{device}: kernel {kernel:?}\n{device}: agent  {agent:?}\nlost {:?}", after.1.lost);
    ensure!(losses.iter().all(|(reason, _)| *reason == "recursion"), "{losses:?}");
    let left_out = after.1.left_out();
    let ios = |stats: &DiskStats| stats.reads + stats.writes + stats.discards + stats.flushes;
    let missing = ios(&kernel) - ios(&agent);
    ensure!(missing <= left_out, "{device}: {missing} requests are missing, {left_out} were left out");
    if left_out == 0 {
        ensure!(agent == kernel, "{device}: {agent:?} is not {kernel:?}");
        // Each that ended was in both stages; devices without requests have no queue.
        let of = |status: &Status, op, stage| status.disks.samples(device, op, stage);
        for (op, ended) in [("read", kernel.reads), ("flush", kernel.flushes), ("discard", kernel.discards)] {
            let [queue, at_device] =
                ["queue", "device"].map(|stage| of(&after.1, op, stage) - of(&before.1, op, stage));
            ensure!(at_device == ended, "{device}: {ended} times {op}, {at_device} times");
            let begins = op != "flush" && !device.starts_with("zram");
            ensure!(queue == if begins { ended } else { 0 }, "{device}: {ended} times {op}, {queue} in the queue");
        }
    }
    Ok(kernel)
}

/// What both say of the same moment: file systems have work of their own, so the kernel is asked before and after the agent.
fn moment(agent: &Agent, device: &str) -> Result<(DiskStats, Status)> {
    wait_for("a moment in which nothing happens", Duration::from_mins(1), || {
        let kernel = DiskStats::at_rest(device).ok()?;
        let status = agent.status().ok()?;
        (DiskStats::now(device).ok()? == (kernel, 0)).then_some((kernel, status))
    })
}

fn sync() -> Result<()> {
    run("sync", &[] as &[&OsStr])
}

fn bytes(status: &Status, which: impl Fn(&Counts) -> bool) -> u64 {
    status.disks.count(which).1
}

/// Everything at once: two targets and a process that is not watched, by every way.
fn mixed(mount: &Mount, device: &str) -> Result<()> {
    let calls = scaled(512);
    let ways = ["synced", "direct", "buffered", "mapped", "read", "direct-read"];
    let (wal_a, wal_b, other) = (mount.dir("a")?, mount.dir("b")?, mount.dir("other")?);
    let mut a = load(&wal_a, &ways, calls, 16384)?;
    let mut b = load(&wal_b, &["buffered", "direct", "synced"], calls, 8192)?;
    let mut bystander = load(&other, &ways, calls, 4096)?;
    sync()?;
    let agent = watch(&[("a", &a, &wal_a), ("b", &b, &wal_b)])?;
    let before = moment(&agent, device)?;
    a.go()?;
    b.go()?;
    bystander.go()?;
    for load in [&mut a, &mut b, &mut bystander] {
        load.tally()?;
    }
    sync()?;
    let after = moment(&agent, device)?;
    let kernel = conserved(device, &before, &after)?;
    // Not less than was written by what goes to the disk each time.
    let least = calls * (2 * 16384 + 2 * 8192);
    ensure!(kernel.written_bytes >= least && kernel.read_bytes >= calls * 2 * 16384, "{kernel:?}");
    let status = &after.1;
    // No request of these is larger.
    let missing = status.left_out() * (128 << 10);
    let is = |one: &Counts, target: &str, op: &str, origin: &str| {
        one.device == device && one.target == target && one.class == "wal" && one.op == op && one.origin == origin
    };
    // Direct I/O is as many bytes and requests as the load asked for, or less where requests were merged.
    for (target, size) in [("a", 16384), ("b", 8192)] {
        let written = bytes(status, |one| is(one, target, "write", "direct"));
        ensure!(written + missing >= calls * size, "{target}: {written} of {}", calls * size);
    }
    let read = bytes(status, |one| is(one, "a", "read", "direct"));
    let asked = 2 * calls * 16384;
    ensure!((asked.saturating_sub(missing)..=asked + (1 << 20)).contains(&read), "{read} of {asked}");
    ensure!(bytes(status, |one| is(one, "b", "read", "direct")) == 0, "target b reads nothing of its own");
    Ok(())
}

#[test]
fn under_a_mixed_load_on_ext4() -> Result<()> {
    let mount = Mount::new("ext4")?;
    mixed(&mount, &Device::below(mount.path())?.name)
}

#[test]
fn under_a_mixed_load_on_ext4_with_a_scheduler() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let device = Device::below(mount.path())?;
    let _scheduler = device.set("queue/scheduler", "mq-deadline")?;
    mixed(&mount, &device.name)
}

#[test]
fn under_a_mixed_load_on_xfs() -> Result<()> {
    let mount = Mount::new("xfs")?;
    mixed(&mount, &Device::below(mount.path())?.name)
}

/// A device that takes no requests: its bios are counted, each of which is one.
#[test]
fn of_a_device_without_requests() -> Result<()> {
    let disk = Zram::new(256 << 20)?;
    // zram does not count the blocks that it is told to make zero or to forget.
    let lazy = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
    let mount = Mount::device(&disk.device(), &["-q", "-F", "-E", lazy])?;
    mixed(&mount, &Device::below(mount.path())?.name)
}

/// One that appears while the agent runs: until then nothing is attached for such devices.
#[test]
fn of_a_device_without_requests_that_appears() -> Result<()> {
    let why = |agent: &Agent| -> Result<String> {
        let status = agent.status()?;
        let bio =
            status.capabilities.into_iter().find(|one| one["capability"] == "bio").context("no capability bio")?;
        ensure!(bio["hook"].is_string(), "{bio}");
        Ok(bio["why"].as_str().unwrap_or_default().to_owned())
    };
    let attached = |agent: &Agent| -> Result<bool> { Ok(!why(agent)?.contains("no such device")) };
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[])?;
    let was_there = stemedb_probe::disks::any_takes_bios();
    ensure!(attached(&agent)? == was_there, "{}", why(&agent)?);
    let disk = Zram::new(256 << 20)?;
    wait_for("the agent to see the device", Duration::from_secs(20), || attached(&agent).ok()?.then_some(()))?;
    ensure!(was_there || why(&agent)?.contains("appeared"), "{}", why(&agent)?);
    // Its own I/O, so that nothing has to be known of a process.
    let lazy = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
    let mount = Mount::device(&disk.device(), &["-q", "-F", "-E", lazy])?;
    let device = Device::below(mount.path())?.name;
    let before = moment(&agent, &device)?;
    std::fs::write(mount.path().join("file"), vec![1; 1 << 20])?;
    sync()?;
    let after = moment(&agent, &device)?;
    let kernel = conserved(&device, &before, &after)?;
    ensure!(kernel.written_bytes >= 1 << 20, "{kernel:?}");
    Ok(())
}

#[test]
fn discards_and_zeroes() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let device = Device::below(mount.path())?.name;
    let wal = mount.dir("wal")?;
    let mut a = load(&wal, &["direct"], 256, 65536)?;
    let agent = watch(&[("a", &a, &wal)])?;
    let before = moment(&agent, &device)?;
    a.run()?;
    std::fs::remove_file(std::fs::read_dir(&wal)?.next().context("no file")??.path())?;
    sync()?;
    run("fstrim", &[mount.path().as_os_str()])?;
    let after = moment(&agent, &device)?;
    let kernel = conserved(&device, &before, &after)?;
    ensure!(kernel.discards > 0 && kernel.discarded_bytes >= 256 * 65536, "{kernel:?}");
    Ok(())
}

/// Written by the process, never synced by it, and written to the disk by the kernel.
#[test]
fn what_the_kernel_writes_out_is_its_writers() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let device = Device::below(mount.path())?.name;
    let (wal_a, wal_b, other) = (mount.dir("a")?, mount.dir("b")?, mount.dir("other")?);
    let calls = scaled(1024);
    let mut a = load(&wal_a, &["buffered", "mapped"], calls, 16384)?;
    let mut b = load(&wal_b, &["buffered"], calls, 8192)?;
    let mut bystander = load(&other, &["buffered", "mapped"], calls, 16384)?;
    sync()?;
    let agent = watch(&[("a", &a, &wal_a), ("b", &b, &wal_b)])?;
    let before = moment(&agent, &device)?;
    a.go()?;
    b.go()?;
    bystander.go()?;
    let written = |tally: &Tally| tally.bytes("wal", Op::Pwrite);
    let tallies: Vec<u64> = [&mut a, &mut b, &mut bystander]
        .map(|load| load.tally().map(|tally| written(&tally)))
        .into_iter()
        .collect::<Result<_>>()?;
    // The kernel's own threads write for it.
    sync()?;
    let after = moment(&agent, &device)?;
    let kernel = conserved(&device, &before, &after)?;
    let status = &after.1;
    let of = |target: &str| {
        bytes(status, |one| {
            (one.target.as_str(), one.class.as_str(), one.origin.as_str()) == (target, "wal", "writeback")
                && one.device == device
                && one.op == "write"
        })
    };
    // Stores through mappings make as many pages dirty again, where the capability is there.
    let mapped = if status.is_on("mapped") { calls * 16384 } else { 0 };
    let expected = [("a", tallies[0] + mapped), ("b", tallies[1])];
    for (target, expected) in expected {
        let got = of(target);
        println!("{target}: {got} of {expected} bytes came back as writeback");
        ensure!(got * 100 > expected * 99 && got <= expected, "{target}: {got} of {expected}");
    }
    let bystanders = tallies[2] + calls * 16384;
    let nobodys = bytes(status, |one| one.target.is_empty() && one.device == device && one.op == "write");
    ensure!(nobodys >= bystanders, "{nobodys} of the bystander's {bystanders}");
    // And nothing is counted twice.
    let charged = of("a") + of("b");
    ensure!(charged + bystanders <= kernel.written_bytes, "{charged} + {bystanders} of {}", kernel.written_bytes);
    Ok(())
}

/// The kernel does not count, and the agent does.
#[test]
fn with_the_statistics_of_the_queue_off() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let device = Device::below(mount.path())?;
    let wal = mount.dir("wal")?;
    let calls = scaled(500);
    let mut a = load(&wal, &["direct"], calls, 4096)?;
    sync()?;
    let agent = watch(&[("a", &a, &wal)])?;
    let _statistics = device.set("queue/iostats", "0")?;
    let before = DiskStats::at_rest(&device.name)?;
    a.run()?;
    let status = agent.status()?;
    ensure!(DiskStats::at_rest(&device.name)? == before, "the kernel counts");
    let (ios, bytes) = status.disks.count(|one| one.device == device.name && one.class == "wal");
    let missing = status.left_out();
    ensure!(ios <= calls && ios + missing >= calls, "{ios} requests of {calls}, {missing} left out");
    ensure!(bytes == ios * 4096, "{bytes} bytes of {ios} requests");
    for stage in ["queue", "device"] {
        let found = status.disks.stage("a", &device.name, "write", stage).context("no latency")?;
        ensure!(found.count() + missing >= calls && found.sum_ns > 0, "{stage}: {found:?}");
    }
    Ok(())
}

/// A disk with two partitions, and what becomes of the figures when it is gone.
#[test]
fn partitions_have_their_own_names_and_disks_may_go() -> Result<()> {
    let disk = Partitioned::new(2)?;
    let mount = Mount::device(&disk.partitions()[1], &["-q", "-F"])?;
    let device = Device::below(mount.path())?.name;
    ensure!(device.ends_with("p2"), "{device}");
    let wal = mount.dir("wal")?;
    let mut a = load(&wal, &["synced", "direct"], 100, 4096)?;
    sync()?;
    let agent = watch(&[("a", &a, &wal)])?;
    let before = moment(&agent, &device)?;
    let tally = a.run()?;
    sync()?;
    let after = moment(&agent, &device)?;
    // The flushes are the whole disk's.
    let kernel = conserved(&device, &before, &after)?;
    ensure!(kernel.flushes == 0 && kernel.written_bytes >= tally.bytes("wal", Op::Pwrite), "{kernel:?}");
    let whole = device.trim_end_matches("p2").to_owned();
    let (flushes, _) = after.1.disks.count(|one| one.device == whole && one.op == "flush");
    ensure!(flushes > 0, "no flush of {whole}");
    let metrics = agent.get("/metrics", "*/*")?;
    let info = format!("stemedb_disk_info{{device=\"{device}\",disk=\"{whole}\",mapper=\"\"}} 1");
    ensure!(metrics.contains(&info), "no {info}");
    let class = after.1.classes.iter().find(|one| one.class == "wal").context("no class")?;
    println!("{:?}", class.mount);
    drop((a, mount, disk));
    let gone = agent.status()?;
    ensure!(gone.disks.sum(&device).writes >= after.1.disks.sum(&device).writes, "the figures stay");
    Ok(())
}

/// Without a journal the thread itself asks for the flush, one for each of its syncs; and none asks for the medium.
#[test]
fn flushes_are_of_who_asks_for_them() -> Result<()> {
    let mount = Mount::new("ext4-nojournal")?;
    let device = Device::below(mount.path())?.name;
    let (wal, other) = (mount.dir("a")?, mount.dir("other")?);
    let calls = scaled(200);
    let (mut a, mut bystander) = (load(&wal, &["synced"], calls, 4096)?, load(&other, &["synced"], calls / 2, 4096)?);
    sync()?;
    let agent = watch(&[("a", &a, &wal)])?;
    let before = moment(&agent, &device)?;
    a.go()?;
    bystander.go()?;
    for load in [&mut a, &mut bystander] {
        load.tally()?;
    }
    let after = moment(&agent, &device)?;
    let kernel = conserved(&device, &before, &after)?;
    let waits = |status: &Status, target| status.disks.flushes(target, &device).map_or(0, |one| one.waits.count());
    let [targets, nobodys] = ["a", ""].map(|target| waits(&after.1, target) - waits(&before.1, target));
    println!("{targets} and {nobodys} waits for {} flushes", kernel.flushes);
    // Two that wait at once may share a flush.
    let missing = after.1.left_out();
    ensure!((calls - missing.min(calls)..=calls).contains(&targets), "{targets} of {calls}, {missing} left out");
    ensure!(nobodys + missing >= calls / 2, "{nobodys} of {}, {missing} left out", calls / 2);
    ensure!(kernel.flushes <= targets + nobodys + missing, "{kernel:?}");
    let flushes = after.1.disks.flushes("a", &device).context("no flush")?;
    let syncs: u64 = after.1.series.iter().filter(|one| one.target == "a").map(|one| one.sum_ns).sum();
    ensure!(flushes.fua == 0 && flushes.waits.sum_ns < syncs, "{} ns in syncs of {syncs} ns", flushes.waits.sum_ns);
    Ok(())
}

#[test]
fn a_class_directory_has_its_mount_and_its_device() -> Result<()> {
    let mount = Mount::new("xfs")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?;
    let found = wait_for("the mount", Duration::from_secs(20), || {
        agent.status().ok()?.classes.into_iter().find(|one| one.class == "wal")?.mount
    })?;
    ensure!(found["file_system"] == "xfs" && found["point"] == mount.path().display().to_string(), "{found}");
    let number = Device::below(mount.path())?.number;
    ensure!(found["device"] == format!("{}:{}", number.0, number.1), "{found}");
    Ok(())
}
