//! Stores through shared mappings: the page cache that they make dirty, once for each time that a clean folio becomes dirty.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use stemedb_kernel_tests::agent::{Agent, Status};
use stemedb_kernel_tests::compare;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::scaled;
use stemedb_workload::sys::Mapping;
use stemedb_workload::{Op, Tally};

const PAGE: usize = 4096;
const PAGES: usize = 100;

/// Runs the load `mapped` and compares. Its file is made by writes of one page each, so that its folios have one page each.
fn load(mount: &Mount, flush: &str, threads: &str, rounds: u64) -> Result<()> {
    let wal = mount.dir("wal")?;
    let (dir, pages) = (wal.display().to_string(), PAGES.to_string());
    let args = ["mapped", "--dir", &dir, "--threads", threads, "--pages", &pages, "--flush", flush, "--rounds"];
    let mut load = Load::start(&[&args[..], &[&rounds.to_string()]].concat())?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    load.go()?;
    let report = load.json()?;
    let bytes = report["dirtied_bytes"].as_u64().context("no number of bytes")?;
    let tally: Tally = serde_json::from_value(report)?;
    assert_eq!(tally.calls("wal", Op::Pwrite), PAGES as u64, "the load did what it was told");
    let status = agent.status()?;
    compare::equal(&status, &tally)?;
    let times = if flush == "async" { 1 } else { rounds };
    assert_eq!(bytes, times * (PAGES * PAGE) as u64, "{flush}");
    assert_eq!(status.mapped("wal"), seen(&status, times * PAGES as u64), "{flush}");
    Ok(())
}

/// What is counted where so many pages have become dirty: nothing where the capability is off.
fn seen(status: &Status, pages: u64) -> (u64, u64) {
    let pages = if status.is_on("mapped") { pages } else { 0 };
    (pages * PAGE as u64, pages)
}

#[test]
fn stores_and_msync() -> Result<()> {
    load(&Mount::new("ext4")?, "msync", "1", 5)
}

#[test]
fn stores_and_fsync() -> Result<()> {
    load(&Mount::new("ext4")?, "fsync", "1", 5)
}

#[test]
fn an_asynchronous_msync_cleans_nothing() -> Result<()> {
    load(&Mount::new("ext4")?, "async", "1", 5)
}

#[test]
fn threads_that_store_to_the_same_pages() -> Result<()> {
    load(&Mount::new("ext4")?, "msync", "6", 5)
}

#[test]
fn on_other_file_systems() -> Result<()> {
    let small_blocks = Mount::image("256M", "mkfs.ext4", &["-q", "-F", "-b", "1024"])?;
    load(&small_blocks, "msync", "2", 3).context("ext4 with small blocks")?;
    for kind in ["ext4-nojournal", "xfs", "btrfs"] {
        load(&Mount::new(kind)?, "msync", "2", 3).with_context(|| kind.to_owned())?;
    }
    Ok(())
}

/// The test itself as the target, with a file of zeros whose pages are clean.
struct Own {
    agent: Agent,
    path: PathBuf,
    file: File,
}

impl Own {
    /// Makes the file before the agent looks.
    fn new(mount: &Mount, write: usize) -> Result<Self> {
        let wal = mount.dir("wal")?;
        let path = wal.join("data");
        let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
        for _ in 0..PAGES * PAGE / write {
            file.write_all(&vec![0; write])?;
        }
        file.sync_all()?;
        let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?;
        Ok(Self { agent, path, file })
    }

    fn map(&self) -> Result<Mapping> {
        Ok(Mapping::new(&self.file, PAGES * PAGE)?)
    }

    /// That so many pages have become dirty until now.
    fn has_counted(&self, pages: u64) -> Result<()> {
        let status = self.agent.status()?;
        let (counted, expected) = (status.mapped("wal"), seen(&status, pages));
        ensure!(counted == expected, "counted {counted:?} bytes and folios, not {expected:?}");
        Ok(())
    }
}

/// As if the kernel had written the pages out by itself: done by a process that is not watched.
fn write_out(path: &Path) -> Result<()> {
    let status = Command::new("sync").arg("--file-system").arg(path).status()?;
    ensure!(status.success(), "sync has failed");
    Ok(())
}

#[test]
fn pages_that_only_the_kernel_writes_out() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let own = Own::new(&mount, PAGE)?;
    let map = own.map()?;
    for round in 1..4 {
        map.touch(PAGE, 7);
        own.has_counted(round * PAGES as u64)?;
        map.touch(PAGE, 8);
        own.has_counted(round * PAGES as u64).context("what is dirty does not become dirty")?;
        write_out(&own.path)?;
    }
    let status = own.agent.status()?;
    assert!(
        status.series.iter().all(|series| series.class != "wal"),
        "nobody has asked for a sync: {:?}",
        status.series
    );
    Ok(())
}

#[test]
fn a_large_folio_counts_as_a_whole() -> Result<()> {
    let mount = Mount::new("xfs")?;
    let own = Own::new(&mount, PAGES * PAGE)?;
    let mut map = own.map()?;
    map.set(0, 7);
    let status = own.agent.status()?;
    if !status.is_on("mapped") {
        return own.has_counted(0);
    }
    let (bytes, folios) = status.mapped("wal");
    assert!(folios == 1 && bytes >= PAGE as u64 && bytes.is_power_of_two(), "{bytes} bytes");
    map.touch(PAGE, 7);
    let (bytes, folios) = own.agent.status()?.mapped("wal");
    assert_eq!(bytes, (PAGES * PAGE) as u64, "the folios of one write cover it, and no more");
    assert!(folios <= PAGES as u64);
    Ok(())
}

#[test]
fn what_is_no_store_through_a_shared_mapping() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let own = Own::new(&mount, PAGE)?;
    let mut tally = Tally::new();
    // Writes, and a look at every page.
    for page in 0..PAGES {
        tally.on("wal").pwrite(&own.file, &[9; 100], (page * PAGE) as u64)?;
    }
    tally.on("wal").fdatasync(&own.file)?;
    let read = std::fs::read(&own.path)?;
    assert_eq!(read.len(), PAGES * PAGE);
    own.has_counted(0)?;
    // A page that a write has made dirty does not become so by a store; a file without a class is class `other`.
    tally.on("wal").pwrite(&own.file, &[9; 100], 0)?;
    own.map()?.set(0, 1);
    own.has_counted(0)
}

/// The address space is locked while a thread changes it, so that no file can be looked up in it. Each call is there all the same:
/// in its class, if it could be looked up at its begin or at its end, else as lost.
#[test]
fn while_other_threads_change_the_address_space() -> Result<()> {
    let calls = scaled(20_000);
    let mount = Mount::new("ext4")?;
    let own = Own::new(&mount, PAGE)?;
    let map = own.map()?;
    let done = AtomicBool::new(false);
    let mut tally = Tally::new();
    thread::scope(|scope| -> Result<()> {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Each is a change, and another one when it is dropped.
                    drop(own.map());
                }
            });
        }
        let result = (0..calls).try_for_each(|_| tally.on("wal").msync(&map, 0, PAGE, libc::MS_ASYNC).map(drop));
        done.store(true, Ordering::Relaxed);
        Ok(result?)
    })?;
    let status = own.agent.status()?;
    let lost = status.lost.get("msync_file").copied().unwrap_or(0);
    println!("{lost} of {calls} could not be looked up");
    assert_eq!(tally.calls("wal", Op::Msync), calls);
    assert_eq!((status.calls("wal", "msync"), status.calls("other", "msync")), (calls - lost, lost));
    assert!(status.losses().iter().all(|(reason, _)| *reason == "msync_file"), "{:?}", status.losses());
    Ok(())
}
