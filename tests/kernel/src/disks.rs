//! Disks that are slow or that fail when they are told to: null_blk, device-mapper and scsi_debug. They are modules, which
//! the kernels of `cargo xtask vm-test` have. Each disk is removed when it is dropped, so it has to outlive what is mounted
//! on it: make it first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait_for;

/// A generous limit for a disk to appear.
const SOON: Duration = Duration::from_secs(20);
/// Bytes of a sector, the unit of device-mapper.
const SECTOR: u64 = 512;
const NULL_BLOCK: &str = "/sys/kernel/config/nullb";
const SCSI_DRIVER: &str = "/sys/bus/pseudo/drivers/scsi_debug";
const SCSI_FAULTS: &str = "/sys/kernel/debug/scsi_debug";

/// A name that no other disk of this machine has.
fn unique(kind: &str) -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    format!("{kind}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// What a command of the system prints.
fn ask(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("cannot run {program}: it is part of `cargo xtask vm-test`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {args:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Without udev, which the guests do not have: it would make the device's node, and say when that is done.
fn dmsetup(args: &[&str]) -> Result<()> {
    ask("dmsetup", &[&["--noudevrules", "--noudevsync"], args].concat()).map(drop)
}

fn set(file: &Path, value: &str) -> Result<()> {
    fs::write(file, value).with_context(|| format!("cannot write {value} to {}", file.display()))
}

fn path(text: &Path) -> Result<&str> {
    text.to_str().with_context(|| format!("{} is no UTF-8", text.display()))
}

/// A disk in memory whose requests take a time of their own.
pub struct NullBlock {
    config: PathBuf,
    device: PathBuf,
}

impl NullBlock {
    /// A disk of a size; each of its requests completes so long after it was begun.
    pub fn new(megabytes: u32, completion: Duration) -> Result<Self> {
        ask("modprobe", &["null_blk", "nr_devices=0"])?;
        let name = unique("disk");
        let config = Path::new(NULL_BLOCK).join(&name);
        fs::create_dir(&config).with_context(|| config.display().to_string())?;
        // From here on dropping it removes the folder.
        let mut disk = Self { config, device: PathBuf::new() };
        let settings = [
            ("size", megabytes.to_string()),
            ("memory_backed", "1".into()),
            // By a timer.
            ("irqmode", "2".into()),
            ("completion_nsec", completion.as_nanos().to_string()),
            ("power", "1".into()),
        ];
        for (file, value) in settings {
            set(&disk.config.join(file), &value)?;
        }
        let index = fs::read_to_string(disk.config.join("index"))?;
        // Named after its folder since 6.0 or so, by its number before.
        let names = [format!("/dev/{name}"), format!("/dev/nullb{}", index.trim())].map(PathBuf::from);
        disk.device = wait_for("the disk of null_blk", SOON, || names.iter().find(|name| name.exists()).cloned())?;
        Ok(disk)
    }

    /// Its block device.
    pub fn device(&self) -> &Path {
        &self.device
    }
}

impl Drop for NullBlock {
    fn drop(&mut self) {
        let _ = set(&self.config.join("power"), "0");
        let _ = fs::remove_dir(&self.config);
    }
}

/// What a device of device-mapper does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It hands them on.
    Plain,
    /// It fails what writes, flushes too, with an I/O error.
    FailsWrites,
    /// It holds what writes, flushes too, for a time.
    DelaysWrites(Duration),
}

/// A device of device-mapper, on top of another.
pub struct Mapped {
    name: String,
    below: String,
    sectors: u64,
}

impl Mapped {
    /// On top of a disk, all of it.
    pub fn new(below: &Path, behaviour: Behaviour) -> Result<Self> {
        for module in ["dm-flakey", "dm-delay"] {
            ask("modprobe", &[module])?;
        }
        let below = path(below)?.to_owned();
        let bytes: u64 = ask("blockdev", &["--getsize64", &below])?.trim().parse()?;
        let disk = Self { name: unique("mapped"), below, sectors: bytes / SECTOR };
        dmsetup(&["create", &disk.name, "--table", &disk.table(behaviour)])?;
        dmsetup(&["mknodes", &disk.name])?;
        Ok(disk)
    }

    /// Does something else from now on. What is on its way is not waited for, and nothing is synced.
    pub fn becomes(&self, behaviour: Behaviour) -> Result<()> {
        dmsetup(&["load", &self.name, "--table", &self.table(behaviour)])?;
        dmsetup(&["suspend", "--nolockfs", "--noflush", &self.name])?;
        dmsetup(&["resume", &self.name])
    }

    fn table(&self, behaviour: Behaviour) -> String {
        let (sectors, below) = (self.sectors, &self.below);
        match behaviour {
            Behaviour::Plain => format!("0 {sectors} linear {below} 0"),
            // Down all the time: 0 seconds up, 1 second down.
            Behaviour::FailsWrites => format!("0 {sectors} flakey {below} 0 0 1 1 error_writes"),
            Behaviour::DelaysWrites(time) => {
                format!("0 {sectors} delay {below} 0 0 {below} 0 {}", time.as_millis())
            }
        }
    }

    /// Its block device.
    pub fn device(&self) -> PathBuf {
        Path::new("/dev/mapper").join(&self.name)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = dmsetup(&["remove", "--retry", &self.name]);
    }
}

/// What a SCSI disk refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuses {
    /// WRITE (10).
    Writes,
    /// SYNCHRONIZE CACHE (10).
    Flushes,
}

/// A SCSI disk in memory. There is one at a time.
pub struct ScsiDisk {
    /// Host, channel, target and unit, as in `/sys/class/scsi_disk`.
    address: String,
    device: PathBuf,
}

impl ScsiDisk {
    /// A disk of a size, with a write cache.
    pub fn new(megabytes: u32) -> Result<Self> {
        ask("modprobe", &["sd_mod"])?;
        ask("modprobe", &["scsi_debug", &format!("dev_size_mb={megabytes}"), "delay=0"])?;
        let mut disk = Self { address: String::new(), device: PathBuf::new() };
        disk.address = wait_for("the disk of scsi_debug", SOON, address)?;
        let block = Path::new("/sys/class/scsi_disk").join(&disk.address).join("device/block");
        disk.device = wait_for("its block device", SOON, || {
            let name = fs::read_dir(&block).ok()?.next()?.ok()?.file_name();
            Some(Path::new("/dev").join(name)).filter(|device| device.exists())
        })?;
        Ok(disk)
    }

    /// Its block device.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Whether this kernel can make the disk refuse single commands (6.6 and later).
    pub fn is_selective(&self) -> bool {
        self.faults().exists()
    }

    fn faults(&self) -> PathBuf {
        Path::new(SCSI_FAULTS).join(&self.address).join("error")
    }

    /// From now on refuses a command with a medium error.
    pub fn refuse(&self, what: Refuses) -> Result<()> {
        let command = match what {
            Refuses::Writes => "0x2a",
            Refuses::Flushes => "0x35",
        };
        // Fail with sense data (2), always (1): check condition (0x2), medium error (0x3), unrecovered (0x11).
        set(&self.faults(), &format!("2 1 {command} 0 0 0x2 0x3 0x11 0x0"))
    }

    /// From now on refuses every write with wrong protection information, which kernels before 6.6 can make it do, too.
    /// Their medium errors are for reads only.
    pub fn refuse_every_write(&self) -> Result<()> {
        let driver = Path::new(SCSI_DRIVER);
        // SDEBUG_OPT_DIX_ERR
        set(&driver.join("opts"), "0x40")?;
        set(&driver.join("every_nth"), "1")
    }
}

/// The address of the first disk of scsi_debug.
fn address() -> Option<String> {
    let disks = fs::read_dir("/sys/class/scsi_disk").ok()?.flatten();
    let ours = disks.filter(|disk| {
        fs::read_to_string(disk.path().join("device/model")).is_ok_and(|model| model.trim() == "scsi_debug")
    });
    ours.map(|disk| disk.file_name().to_string_lossy().into_owned()).next()
}

impl Drop for ScsiDisk {
    fn drop(&mut self) {
        let driver = Path::new(SCSI_DRIVER);
        for (file, value) in [("every_nth", "0"), ("opts", "0")] {
            let _ = set(&driver.join(file), value);
        }
        // Who has just unmounted it may hold it for a moment.
        let _ = wait_for("the end of scsi_debug", SOON, || ask("modprobe", &["-r", "scsi_debug"]).ok());
    }
}
