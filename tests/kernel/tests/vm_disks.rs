//! Disks that fail and disks that are slow: the agent counts what the load was answered, and times what it waited for. Only
//! guests of `cargo xtask vm-test` have such disks. The test itself is the target.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use stemedb_ebpf::slots::latency_slot;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::block::{Device, Errors};
use stemedb_kernel_tests::compare;
use stemedb_kernel_tests::disks::{Behaviour, Mapped, NullBlock, Refuses, ScsiDisk};
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::quantiles::check_dominance;
use stemedb_workload::{Op, Tally};

const MEGABYTES: u32 = 128;
/// Calls that fail, and calls that do not.
const ROUNDS: u32 = 5;

/// An ext4 on a disk, with an agent.
struct Scene {
    agent: Agent,
    tally: Tally,
    wal: File,
    store: File,
    device: Device,
    _mount: Mount,
}

impl Scene {
    /// Without a journal, so that a failed write is the file's and the file system goes on.
    fn new(device: &Path) -> Result<Self> {
        Self::with(device, "^has_journal")
    }

    fn with(device: &Path, features: &str) -> Result<Self> {
        let mount = Mount::device(device, &["-q", "-F", "-O", features, "-E", "lazy_itable_init=0,nodiscard"])?;
        let dirs: [PathBuf; 2] = [mount.dir("wal")?, mount.dir("store")?];
        let classes = [("wal", dirs[0].as_path()), ("store", dirs[1].as_path())];
        let agent = Agent::watch(&format!("pid={}", std::process::id()), &classes)?;
        let [wal, store] = dirs.map(|dir| File::create(dir.join("file")));
        let device = Device::of(device)?;
        Ok(Self { agent, tally: Tally::new(), wal: wal?, store: store?, device, _mount: mount })
    }

    /// A write that is not synced.
    fn write(&mut self) -> Result<()> {
        self.tally.on("wal").pwrite(&self.wal, &[7; 4096], 0)?;
        Ok(())
    }

    /// The errno of a sync, if it fails.
    fn sync(&mut self) -> Option<i32> {
        self.tally.on("wal").fsync(&self.wal).err().and_then(|error| error.raw_os_error())
    }

    /// Writes and syncs, which succeeds.
    fn round(&mut self) -> Result<()> {
        self.write()?;
        assert_eq!(self.sync(), None);
        Ok(())
    }

    /// Writes and syncs, each of which ends with this errno.
    fn rounds_that_end(&mut self, errno: Option<i32>) -> Result<()> {
        for round in 1..=ROUNDS {
            self.write()?;
            assert_eq!(self.sync(), errno, "round {round}");
        }
        Ok(())
    }

    /// A sync of another class on the same disk, which fails as well.
    fn other_class(&mut self) -> Result<Option<i32>> {
        self.tally.on("store").pwrite(&self.store, &[7; 4096], 0)?;
        Ok(self.tally.on("store").fdatasync(&self.store).err().and_then(|error| error.raw_os_error()))
    }

    /// The kernel and this test have counted alike. (Writes of class `other` may be the test harness's own.)
    fn check(&self) -> Result<()> {
        let status = self.agent.status()?;
        let mut wrong = compare::differences(&status, &self.tally)?;
        wrong.retain(|row| !row.starts_with("other write"));
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(status.losses().is_empty(), "{:?}", status.losses());
        Ok(())
    }

    /// Requests of a class that failed on the disk itself, by operation, and whether all had this status.
    fn failed_requests(&self, class: &str, op: &str, error: &str) -> Result<(u64, bool)> {
        let errors = self.agent.status()?.disks.errors;
        let ours = |one: &&Errors| (one.device == self.device.name) && one.class == class && one.op == op;
        let all: Vec<_> = errors.iter().filter(ours).collect();
        println!("{all:?}");
        let right = all.iter().all(|one| one.target == "t" && one.error == error);
        Ok((all.iter().map(|one| one.count).sum(), right))
    }

    /// The disk itself took at least so long for each write of each round, and they did not wait before.
    fn check_stages(&self, least: Duration) -> Result<()> {
        let disks = self.agent.status()?.disks;
        let stage = |name| disks.stage("t", &self.device.name, "write", name);
        let at_device = stage("device").context("no write at the disk")?;
        assert!(at_device.at_least(least) >= u64::from(ROUNDS), "{at_device:?}");
        // Devices without requests have no queue.
        let waited = stage("queue").map_or(0, |queue| queue.at_least(least));
        assert_eq!(waited, 0, "writes that waited for the disk to take them");
        Ok(())
    }

    /// No sync took less than `least`, and none more than this test has seen.
    fn check_latency(&self, least: Duration) -> Result<()> {
        let slots = self.agent.status()?.sync_slots("wal");
        let below: u64 = slots[..latency_slot(u64::try_from(least.as_nanos())?)].iter().sum();
        assert_eq!((below, slots.iter().sum::<u64>()), (0, u64::from(ROUNDS)), "syncs below {least:?}, and all");
        check_dominance(&slots, self.tally.sync_ns("wal"))
    }
}

/// Syncs that take at least so long.
fn slow(device: &Path, least: Duration) -> Result<()> {
    let mut scene = Scene::new(device)?;
    scene.tally = Tally::with_raw();
    for _ in 0..ROUNDS {
        scene.round()?;
    }
    scene.check()?;
    scene.check_stages(least)?;
    scene.check_latency(least)
}

#[test]
fn writes_that_fail_in_the_device_mapper() -> Result<()> {
    let below = NullBlock::new(MEGABYTES, Duration::ZERO)?;
    let disk = Mapped::new(below.device(), Behaviour::Plain)?;
    let mut scene = Scene::new(&disk.device())?;
    for round in 1..=ROUNDS {
        scene.round()?;
        disk.becomes(Behaviour::FailsWrites)?;
        scene.write()?;
        assert_eq!(scene.sync(), Some(libc::EIO), "round {round}");
        assert_eq!(scene.other_class()?, Some(libc::EIO), "round {round}");
        disk.becomes(Behaviour::Plain)?;
    }
    scene.round()?;
    let failed = |class, op| scene.tally.errors(class, op, libc::EIO);
    assert_eq!((failed("wal", Op::Fsync), failed("store", Op::Fdatasync)), (ROUNDS.into(), ROUNDS.into()));
    // Its name in device-mapper is told beside it.
    let metrics = scene.agent.get("/metrics", "")?;
    let info = format!("stemedb_disk_info{{device=\"{0}\",disk=\"{0}\",mapper=\"", scene.device.name);
    assert!(metrics.lines().any(|line| line.starts_with(&info) && !line.contains("mapper=\"\"")), "no {info}");
    // One write of one page a round; and before the call tells, the file knows.
    for class in ["wal", "store"] {
        assert_eq!(scene.failed_requests(class, "write", "ioerr")?, (ROUNDS.into(), true), "{class}");
        assert!(scene.agent.status()?.disks.recorded("t", class) >= u64::from(ROUNDS), "{class}");
    }
    scene.check()
}

#[test]
fn a_delay_in_the_device_mapper() -> Result<()> {
    let below = NullBlock::new(MEGABYTES, Duration::ZERO)?;
    let disk = Mapped::new(below.device(), Behaviour::Plain)?;
    let time = Duration::from_millis(100);
    disk.becomes(Behaviour::DelaysWrites(time))?;
    slow(&disk.device(), time)
}

#[test]
fn a_disk_whose_requests_take_long() -> Result<()> {
    let time = Duration::from_millis(50);
    let disk = NullBlock::new(MEGABYTES, time)?;
    slow(disk.device(), time)
}

#[test]
fn writes_that_a_scsi_disk_refuses() -> Result<()> {
    let disk = ScsiDisk::new(MEGABYTES)?;
    let mut scene = Scene::new(disk.device())?;
    scene.round()?;
    // What the kernel makes of a medium error, and of wrong protection information (Linux 6.1).
    let errno = if disk.is_selective() {
        disk.refuse(Refuses::Writes)?;
        libc::ENODATA
    } else {
        disk.refuse_every_write()?;
        libc::EIO
    };
    scene.rounds_that_end(Some(errno))?;
    assert_eq!(scene.other_class()?, Some(errno));
    let status = if disk.is_selective() { "medium" } else { "protection" };
    assert_eq!(scene.failed_requests("wal", "write", status)?, (ROUNDS.into(), true));
    assert_eq!(scene.failed_requests("store", "write", status)?, (1, true));
    scene.check()
}

/// Everything is written, so that a sync has nothing left but the flush of the disk's write cache. With a journal, because
/// ext4 without one sends no flush for a clean inode before 6.5 (`ext4_fsync_nojournal`).
#[test]
fn flushes_that_fail() -> Result<()> {
    let below = ScsiDisk::new(MEGABYTES)?;
    let disk = Mapped::new(below.device(), Behaviour::Plain)?;
    let mut scene = Scene::with(&disk.device(), "has_journal")?;
    for round in 1..=ROUNDS {
        scene.round()?;
        disk.becomes(Behaviour::FailsWrites)?;
        assert_eq!(scene.sync(), Some(libc::EIO), "round {round}");
        disk.becomes(Behaviour::Plain)?;
    }
    scene.check()
}

/// The writes themselves succeed.
#[test]
fn flushes_that_a_scsi_disk_refuses() -> Result<()> {
    let disk = ScsiDisk::new(MEGABYTES)?;
    let mut scene = Scene::new(disk.device())?;
    scene.round()?;
    // Older kernels cannot make the disk refuse a flush and nothing else: there all goes well, which is counted, too.
    let errno = if disk.is_selective() {
        disk.refuse(Refuses::Flushes)?;
        Some(libc::ENODATA)
    } else {
        None
    };
    scene.rounds_that_end(errno)?;
    // Flushes have no page, and so no class; the writes have gone well.
    let failed = if errno.is_some() { ROUNDS.into() } else { 0 };
    assert_eq!(scene.failed_requests("other", "flush", "medium")?, (failed, true));
    assert_eq!(scene.failed_requests("wal", "write", "")?.0, 0);
    scene.check()
}
