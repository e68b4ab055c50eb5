//! File systems to test on: images on loop devices, tmpfs, overlays. Unmounted when dropped, also when a test fails.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// A mounted file system in a temporary folder.
pub struct Mount {
    at: PathBuf,
    /// What it stands on, dropped after it is unmounted.
    below: Option<Box<Mount>>,
    _dir: TempDir,
}

impl Mount {
    /// A file system by its name: `ext4`, `ext4-nojournal`, `xfs`, `btrfs`, `tmpfs` or `overlayfs`.
    pub fn new(kind: &str) -> Result<Self> {
        match kind {
            "ext4" => Self::image("512M", "mkfs.ext4", &["-q", "-F"]),
            "ext4-nojournal" => Self::image("512M", "mkfs.ext4", &["-q", "-F", "-O", "^has_journal"]),
            "xfs" => Self::image("512M", "mkfs.xfs", &["-q", "-f"]),
            "btrfs" => Self::image("512M", "mkfs.btrfs", &["-q", "-f"]),
            "tmpfs" => Self::tmpfs("512m"),
            "overlayfs" => Self::overlay(),
            other => bail!("no file system {other}"),
        }
    }

    /// A file system in an image of a size.
    pub fn image(size: &str, mkfs: &str, args: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let image = dir.path().join("image");
        run("truncate", &[OsStr::new("-s"), OsStr::new(size), image.as_os_str()])?;
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).chain([image.as_os_str()]).collect();
        run(mkfs, &args)?;
        Self::attach(dir, None, &[OsStr::new("-o"), OsStr::new("loop"), image.as_os_str()])
    }

    /// An ext4 of a size in an image on another mount, which has to outlive it: a disk that is as slow as what is below.
    pub fn on(below: &Self, size: &str) -> Result<Self> {
        let image = below.path().join("image");
        run("truncate", &[OsStr::new("-s"), OsStr::new(size), image.as_os_str()])?;
        // Not by the page cache, which would be fast, and belong to nobody.
        let device = LoopDevice::of(&image, &["--direct-io=on"])?;
        // Detached while it is mounted, it goes with the mount.
        Self::device(&device.0, &["-q", "-F"])
    }

    /// What is in an image that lies elsewhere.
    pub fn loop_of(image: &Path) -> Result<Self> {
        Self::attach(tempfile::tempdir()?, None, &[OsStr::new("-o"), OsStr::new("loop"), image.as_os_str()])
    }

    /// An ext4 on a block device, which has to outlive this.
    pub fn device(device: &Path, args: &[&str]) -> Result<Self> {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).chain([device.as_os_str()]).collect();
        run("mkfs.ext4", &args)?;
        Self::attach(tempfile::tempdir()?, None, &[device.as_os_str()])
    }

    /// A tmpfs of a size.
    pub fn tmpfs(size: &str) -> Result<Self> {
        let options = format!("size={size}");
        Self::attach(tempfile::tempdir()?, None, &["-t", "tmpfs", "-o", &options, "tmpfs"].map(OsStr::new))
    }

    /// An image on a small tmpfs, which runs out of space before the file system in the image does: a disk that fails.
    pub fn failing(tmpfs: &str, image: &str) -> Result<Self> {
        let below = Self::tmpfs(tmpfs)?;
        let file = below.path().join("image");
        run("truncate", &[OsStr::new("-s"), OsStr::new(image), file.as_os_str()])?;
        run(
            "mkfs.ext4",
            &["-q", "-F", "-E", "lazy_itable_init=0,nodiscard"]
                .map(OsStr::new)
                .into_iter()
                .chain([file.as_os_str()])
                .collect::<Vec<_>>(),
        )?;
        Self::attach(
            tempfile::tempdir()?,
            Some(Box::new(below)),
            &[OsStr::new("-o"), OsStr::new("loop"), file.as_os_str()],
        )
    }

    /// Takes all the room that is left to what it stands on, so that every block that it writes for the first time is an error.
    pub fn fail(&self) -> Result<()> {
        let below = self.below.as_ref().context("it stands on nothing that can be full")?;
        let mut file = std::fs::File::create(below.path().join("full"))?;
        let zeros = vec![0; 1 << 16];
        let full = loop {
            if let Err(error) = file.write_all(&zeros) {
                break error;
            }
        };
        if full.kind() == ErrorKind::StorageFull { Ok(()) } else { Err(full).context("cannot fill it") }
    }

    fn overlay() -> Result<Self> {
        let below = Self::tmpfs("512m")?;
        for part in ["lower", "upper", "work"] {
            std::fs::create_dir(below.path().join(part))?;
        }
        let part = |name: &str| below.path().join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", part("lower"), part("upper"), part("work"));
        Self::attach(
            tempfile::tempdir()?,
            Some(Box::new(below)),
            &["-t", "overlay", "-o", &options, "overlay"].map(OsStr::new),
        )
    }

    /// A directory seen at a second place.
    pub fn bind(from: &Path) -> Result<Self> {
        Self::attach(tempfile::tempdir()?, None, &[OsStr::new("--bind"), from.as_os_str()])
    }

    fn attach(dir: TempDir, below: Option<Box<Self>>, args: &[&OsStr]) -> Result<Self> {
        let at = dir.path().join("mnt");
        std::fs::create_dir(&at)?;
        let args: Vec<&OsStr> = args.iter().copied().chain([at.as_os_str()]).collect();
        run("mount", &args)?;
        Ok(Self { at, below, _dir: dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// A new directory in it.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.at.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        for _ in 0..50 {
            if run("umount", &[self.at.as_os_str()]).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // Better out of sight than in the way of the next test.
        let _ = run("umount", &[OsStr::new("-l"), self.at.as_os_str()]);
        eprintln!("{} was still in use", self.at.display());
    }
}

/// A file system that lets nothing be written until this is dropped.
pub struct Frozen(PathBuf);

impl Frozen {
    /// Freezes the file system that is mounted there.
    pub fn new(at: &Path) -> Result<Self> {
        run("fsfreeze", &[OsStr::new("-f"), at.as_os_str()])?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = run("fsfreeze", &[OsStr::new("-u"), self.0.as_os_str()]) {
            eprintln!("{} stays frozen: {error}", self.0.display());
        }
    }
}

/// A disk in memory that takes bios and no requests. It has to outlive what is mounted.
pub struct Zram {
    number: String,
}

impl Zram {
    /// Of a size in bytes.
    pub fn new(bytes: u64) -> Result<Self> {
        let control = Path::new("/sys/class/zram-control");
        let number = std::fs::read_to_string(control.join("hot_add")).context("a kernel with zram?")?;
        let disk = Self { number: number.trim().to_owned() };
        std::fs::write(format!("/sys/block/zram{}/disksize", disk.number), bytes.to_string())?;
        Ok(disk)
    }

    /// Its block device.
    pub fn device(&self) -> PathBuf {
        PathBuf::from(format!("/dev/zram{}", self.number))
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write("/sys/class/zram-control/hot_remove", &self.number) {
            eprintln!("zram{}: {error}", self.number);
        }
    }
}

/// A loop device, detached when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn of(image: &Path, args: &[&str]) -> Result<Self> {
        let made = Command::new("losetup").args(["--find", "--show"]).args(args).arg(image).output()?;
        if !made.status.success() {
            bail!("losetup {}: {}", image.display(), String::from_utf8_lossy(&made.stderr));
        }
        Ok(Self(PathBuf::from(String::from_utf8(made.stdout)?.trim())))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(error) = run("losetup", &[OsStr::new("--detach"), self.0.as_os_str()]) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// A disk with partitions, on a loop device. It has to outlive what is mounted.
pub struct Partitioned {
    device: LoopDevice,
    partitions: Vec<PathBuf>,
    _dir: TempDir,
}

impl Partitioned {
    /// With so many partitions of 64 MiB.
    pub fn new(count: usize) -> Result<Self> {
        /// Of a partition.
        const SECTORS: usize = (64 << 20) / 512;
        let dir = tempfile::tempdir()?;
        let image = dir.path().join("image");
        run("truncate", &[OsStr::new("-s"), OsStr::new("256M"), image.as_os_str()])?;
        let device = LoopDevice::of(&image, &["--partscan"])?;
        let mut disk = Self { device, partitions: Vec::new(), _dir: dir };
        for n in 1..=count {
            // Not by a table, which the kernel may not know how to read.
            let (number, start) = (n.to_string(), (SECTORS * n).to_string());
            let device = disk.device.0.as_os_str();
            run("addpart", &[device, number.as_ref(), start.as_ref(), SECTORS.to_string().as_ref()])?;
            let partition = PathBuf::from(format!("{}p{n}", disk.device.0.display()));
            crate::wait_for("a partition", std::time::Duration::from_secs(10), || partition.exists().then_some(()))?;
            disk.partitions.push(partition);
        }
        Ok(disk)
    }

    /// The devices of the partitions.
    pub fn partitions(&self) -> &[PathBuf] {
        &self.partitions
    }
}

/// Runs a program that must succeed.
pub fn run(program: &str, args: &[&OsStr]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("cannot run {program}; `cargo xtask setup --tests` installs it"))?;
    if !output.status.success() {
        bail!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
