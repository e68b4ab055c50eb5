//! Block devices by their numbers: the names that operators know them by. They come and go at run time.

pub mod mounts;
pub mod uevents;

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Where the kernel lists block devices by number.
const BY_NUMBER: &str = "/sys/dev/block";
/// Where it lists whole disks by name.
const ALL: &str = "/sys/block";
/// Bits of the minor number in the kernel's own encoding (`MINORBITS`, include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// A block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its number, `major:minor`.
    pub number: String,
    /// Its name: `nvme0n1p2`, `dm-0`, `loop0`; the number where the device is gone and nobody knew its name.
    pub name: String,
    /// The whole disk, where it is a partition; else the same name.
    pub disk: String,
    /// The name in device-mapper, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapper: Option<String>,
}

/// Splits a number in the kernel's own encoding.
#[must_use]
pub fn split(dev: u32) -> (u32, u32) {
    (dev >> MINOR_BITS, dev & ((1 << MINOR_BITS) - 1))
}

/// Looks up a device by its number in the kernel's own encoding; `None` when it is not there.
#[must_use]
pub fn device(dev: u32) -> Option<Device> {
    device_in(Path::new(BY_NUMBER), dev)
}

/// Whether there is a device that takes bios and no requests, such as those of device-mapper, md and zram: it has no queues of blk-mq.
/// One without a size is not in use.
#[must_use]
pub fn any_takes_bios() -> bool {
    any_takes_bios_in(Path::new(ALL))
}

fn any_takes_bios_in(all: &Path) -> bool {
    let takes_bios = |disk: &Path| {
        let size = fs::read_to_string(disk.join("size")).unwrap_or_default();
        !disk.join("mq").exists() && size.trim() != "0"
    };
    // Where that cannot be seen, there may be one.
    fs::read_dir(all).map_or(true, |disks| disks.flatten().any(|disk| takes_bios(&disk.path())))
}

/// A device that nobody knows anything of.
#[must_use]
pub fn unknown(dev: u32) -> Device {
    let number = number(dev);
    Device { name: number.clone(), disk: number.clone(), number, mapper: None }
}

fn number(dev: u32) -> String {
    let (major, minor) = split(dev);
    format!("{major}:{minor}")
}

fn device_in(by_number: &Path, dev: u32) -> Option<Device> {
    let number = number(dev);
    let at = fs::canonicalize(by_number.join(&number)).ok()?;
    let name = at.file_name()?.to_string_lossy().into_owned();
    let is_partition = at.join("partition").exists();
    let disk = if is_partition { at.parent()?.file_name()?.to_string_lossy().into_owned() } else { name.clone() };
    let mapper = fs::read_to_string(at.join("dm/name")).ok().map(|text| text.trim_end().to_owned());
    Some(Device { number, name, disk, mapper })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn devices_that_take_bios_have_no_queues_of_blk_mq() {
        let sys = tempfile::tempdir().unwrap();
        let add = |name: &str, size: &str, has_queues: bool| {
            let disk = sys.path().join(name);
            fs::create_dir_all(if has_queues { disk.join("mq") } else { disk.clone() }).unwrap();
            fs::write(disk.join("size"), size).unwrap();
        };
        add("sda", "2048\n", true);
        add("zram0", "0\n", false);
        assert!(!any_takes_bios_in(sys.path()));
        add("dm-0", "2048\n", false);
        assert!(any_takes_bios_in(sys.path()) && any_takes_bios_in(Path::new("/nowhere")));
    }

    #[test]
    fn a_partition_has_its_own_name_and_its_disk() {
        let sys = tempfile::tempdir().unwrap();
        let disk = sys.path().join("devices/nvme0n1");
        fs::create_dir_all(disk.join("nvme0n1p2")).unwrap();
        fs::write(disk.join("nvme0n1p2/partition"), "2\n").unwrap();
        let mapped = sys.path().join("devices/dm-0/dm");
        fs::create_dir_all(&mapped).unwrap();
        fs::write(mapped.join("name"), "vg-wal\n").unwrap();
        let block = sys.path().join("block");
        fs::create_dir(&block).unwrap();
        symlink(disk.join("nvme0n1p2"), block.join("259:2")).unwrap();
        symlink(&disk, block.join("259:0")).unwrap();
        symlink(mapped.parent().unwrap(), block.join("253:0")).unwrap();
        let of = |major: u32, minor| device_in(&block, major << MINOR_BITS | minor);
        let partition = of(259, 2).unwrap();
        assert_eq!((partition.name.as_str(), partition.disk.as_str()), ("nvme0n1p2", "nvme0n1"));
        assert_eq!(of(259, 0).unwrap().disk, "nvme0n1");
        assert_eq!(of(253, 0).unwrap().mapper.as_deref(), Some("vg-wal"));
        assert_eq!(of(8, 1), None);
        assert_eq!(unknown(8 << MINOR_BITS | 1).name, "8:1");
    }
}
