//! Which I/O is a journal's. Where a journal is on the disk tells which events of the kernel are its.

use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use stemedb_kernel_tests::agent::{Agent, Status};
use stemedb_kernel_tests::block::{Counts, Device, DiskStats};
use stemedb_kernel_tests::fs::{Mount, run};
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::scaled;
use stemedb_kernel_tests::tracefs::Recording;

/// Bytes of a sector, as the events count.
const SECTOR: u64 = 512;

fn ask(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The number after some words.
fn number(text: &str, words: &str) -> Result<u64> {
    let after = text.split_once(words).with_context(|| format!("no {words:?} in {text:?}"))?.1;
    let digits: String = after.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

/// Sectors of the journal of an ext4: the extents of the inode that is set aside for it.
fn ext4_journal(device: &str) -> Result<Vec<Range<u64>>> {
    let block = number(&ask("dumpe2fs", &["-h", device])?, "Block size:")? / SECTOR;
    let stat = ask("debugfs", &["-R", "stat <8>", device])?;
    let extents = stat.split_once("EXTENTS:").context("no extents")?.1;
    let mut out = Vec::new();
    for extent in extents.split_whitespace().filter_map(|word| word.strip_prefix('(')?.split_once("):")) {
        let physical = extent.1.trim_end_matches(',');
        // Blocks of the extent tree itself have no range before the colon.
        if extent.0.starts_with("ETB") {
            continue;
        }
        let (first, last) = physical.split_once('-').unwrap_or((physical, physical));
        let (first, last): (u64, u64) = (first.parse()?, last.parse()?);
        out.push(first * block..(last + 1) * block);
    }
    Ok(out)
}

/// Sectors of the log of an xfs.
fn xfs_log(device: &str) -> Result<Vec<Range<u64>>> {
    let ask = |what: &str| ask("xfs_db", &["-r", "-c", "sb 0", "-c", what, device]);
    let start = number(&ask("p logstart")?, "=")?;
    let (blocks, size) = (number(&ask("p logblocks")?, "=")?, number(&ask("p blocksize")?, "=")?);
    // `convert` prints the number in hexadecimal and, in brackets, in decimal.
    let text = ask(&format!("convert fsblock {start} daddr"))?;
    let first = number(&text, "(")?;
    Ok(Vec::from([Range { start: first, end: first + blocks * size / SECTOR }]))
}

/// A load of syncs by a target, then one of a process that is not watched. `witness` is called once the agent counts, and what it
/// gives is there when `check` is.
fn syncs<W>(
    dir: &Path,
    bystander: &Path,
    witness: impl FnOnce(&Agent) -> Result<W>,
    check: impl FnOnce(&Agent, W) -> Result<()>,
) -> Result<()> {
    let load = |dir: &Path, calls: u64| {
        let args = ["disk", "--dir", &dir.display().to_string(), "--way", "synced", "--calls", &calls.to_string()]
            .map(str::to_owned);
        Load::start(&args)
    };
    let (mut target, mut other) = (load(dir, scaled(300))?, load(bystander, scaled(100))?);
    let agent = Agent::watch(&format!("pid={}", target.pid()), &[("wal", dir)])?;
    let outcome = (|| {
        // What has been written until here is on the disk.
        run("sync", &[] as &[&std::ffi::OsStr])?;
        let witness = witness(&agent)?;
        target.run()?;
        // What this one waits for is not charged to the target.
        other.run()?;
        check(&agent, witness)
    })();
    outcome.with_context(|| agent.log())
}

/// The agent's figures of the journal against the events in its sectors.
fn matches(kind: &str, journal: impl Fn(&str) -> Result<Vec<Range<u64>>>) -> Result<()> {
    let mount = Mount::new(kind)?;
    let device = Device::below(mount.path())?;
    let (wal, other) = (mount.dir("wal")?, mount.dir("other")?);
    let sectors = journal(&format!("/dev/{}", device.name))?;
    ensure!(!sectors.is_empty(), "no journal on {}", device.name);
    let counted = |status: &Status, target: Option<&str>| {
        let ours = |one: &Counts| {
            (one.origin.as_str(), one.device.as_str(), one.op.as_str()) == ("journal", device.name.as_str(), "write")
                && target.is_none_or(|target| one.target == target)
        };
        status.disks.count(ours).1
    };
    let witness = |agent: &Agent| {
        DiskStats::at_rest(&device.name)?;
        Ok((agent.status()?, Recording::start("journal", &["block_rq_complete"])?))
    };
    syncs(&wal, &other, witness, |agent, (before, recording)| {
        DiskStats::at_rest(&device.name)?;
        let status = agent.status()?;
        let inside = |sector: &u64| sectors.iter().any(|range| range.contains(sector));
        let events = recording.of(&device)?;
        let written = events.iter().filter(|event| event.rwbs.contains('W') && inside(&event.sector));
        let seen: u64 = written.map(|event| event.sectors * SECTOR).sum();
        let [all, targets] = [None, Some("t")].map(|target| counted(&status, target) - counted(&before, target));
        println!("{kind}: {seen} bytes in the journal's sectors, {all} counted, {targets} for t");
        // Ends that the kernel did not tell of are missing requests.
        let missing = status.left_out() * (128 << 10);
        ensure!(
            seen > 0 && (all..=all + missing).contains(&seen),
            "{kind}: {seen} bytes there, {all} counted, {missing} may be missing"
        );
        // Three of four syncs are the target's.
        ensure!(targets * 2 > seen && targets < seen, "{kind}: {targets} for t");
        // The last block of each commit asks for a flush before it, and for the medium.
        let [fua, before] =
            [&status, &before].map(|status| status.disks.flushes("t", &device.name).map_or(0, |one| one.fua));
        ensure!(fua - before >= scaled(300), "{} writes to the medium", fua - before);
        ensure!(status.losses().iter().all(|(reason, _)| *reason == "recursion"), "{:?}", status.losses());
        Ok(())
    })
}

#[test]
fn of_ext4() -> Result<()> {
    matches("ext4", ext4_journal)
}

#[test]
fn of_xfs() -> Result<()> {
    matches("xfs", xfs_log)
}

/// The log of btrfs has no place of its own.
#[test]
fn of_btrfs() -> Result<()> {
    let mount = Mount::new("btrfs")?;
    let (wal, other) = (mount.dir("wal")?, mount.dir("other")?);
    syncs(
        &wal,
        &other,
        |_| Ok(()),
        |agent, ()| {
            let status = agent.status()?;
            // It has no device by its number; no other file system is on a loop device here.
            let of = |target: &str| {
                status
                    .disks
                    .count(|one| one.origin == "journal" && one.target == target && one.device.starts_with("loop"))
            };
            println!("btrfs: {:?} for t, {:?} for nobody", of("t"), of(""));
            // The types of a module are not in the kernel's own type information: then no block is told from another.
            if Path::new("/sys/module/btrfs/initstate").exists() {
                ensure!((of("t"), of("")) == ((0, 0), (0, 0)), "a guess");
                return Ok(());
            }
            // Each sync writes a log tree: its leaf at least, of 16 KiB, and its copy.
            ensure!(of("t").1 >= scaled(300) * 16384, "{:?}", of("t"));
            ensure!(of("").0 > 0, "{:?}", of(""));
            Ok(())
        },
    )
}

/// Without a journal there is none.
#[test]
fn of_ext4_without_one() -> Result<()> {
    let mount = Mount::new("ext4-nojournal")?;
    let device = Device::below(mount.path())?.name;
    let (wal, other) = (mount.dir("wal")?, mount.dir("other")?);
    syncs(
        &wal,
        &other,
        |_| Ok(()),
        |agent, ()| {
            let status = agent.status()?;
            match status.disks.count(|one| one.origin == "journal" && one.device == device) {
                (0, 0) => Ok(()),
                counted => bail!("{counted:?}"),
            }
        },
    )
}
