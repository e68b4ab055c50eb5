//! The disk: one that stands still for a time that is known, one whose requests are all taken, one that is throttled, and one with a
//! cache to flush.

use std::ffi::OsStr;

use anyhow::{Context, Result, ensure};
use stemedb_kernel_tests::block::Device;
use stemedb_kernel_tests::fs::{Mount, run};
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::throttle::{Limit, Throttle};
use stemedb_kernel_tests::trace::{Call, Trace, sum, total};
use stemedb_kernel_tests::tracefs::Recording;

use super::work::{PAUSE, about, file, longest, ns, overlap, rounds, while_frozen};

/// An ext4 without a journal in an image on another file system, that can be frozen.
pub(crate) fn on_another(below: &Mount) -> Result<Mount> {
    let image = below.path().join("image");
    run("truncate", &[OsStr::new("-s"), OsStr::new("256M"), image.as_os_str()])?;
    let no_journal = ["-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard"].map(OsStr::new);
    run("mkfs.ext4", &[&no_journal[..], &[image.as_os_str()]].concat())?;
    Mount::loop_of(&image)
}

/// One phase has the pause; all the others are what a call has without it, and a twentieth of it at most.
fn only(phase: &str, calls: &[Call], pause: u64) -> Result<()> {
    let call = longest(calls)?;
    about(phase, call.phase(phase), pause)?;
    let usual = calls.iter().map(|call| call.total_ns).filter(|ns| *ns < pause).max().context("no other call")?;
    let rest = call.total_ns - call.phase(phase);
    ensure!(rest < usual + pause / 20, "{rest} ns are elsewhere, a usual call has {usual} ns: {:?}", call.phases_ns);
    Ok(())
}

/// A disk that stands still has the data.
#[test]
fn a_disk_that_stands_still_is_the_device() -> Result<()> {
    let below = Mount::new("ext4")?;
    let mount = on_another(&below)?;
    let (wal, file) = file(&mount)?;
    rounds(&file, 20, 4096)?;
    let trace = Trace::of(std::process::id(), &wal, &[])?;
    rounds(&file, 20, 4096)?;
    let stood = while_frozen(&below, || rounds(&file, 1, 4096))?;
    only("device", &trace.calls()?, ns(stood.end - stood.start))
}

/// All requests that the disk takes are another's, so that the data waits for one: in a scheduler, or for a tag.
fn behind_others(scheduler: &str) -> Result<()> {
    let below = Mount::new("ext4")?;
    let mount = on_another(&below)?;
    let device = Device::below(mount.path())?;
    let _scheduler = device.set("queue/scheduler", scheduler)?;
    let _merging = device.set("queue/nomerges", "2")?;
    let threads = device.attribute("mq/0/nr_tags")?.parse::<u64>()? + 32;
    let (wal, file) = file(&mount)?;
    rounds(&file, 20, 4096)?;
    let busy = mount.dir("busy")?;
    let args = ["disk", "--dir", &busy.display().to_string(), "--way", "direct", "--calls", "1", "--size", "4096"]
        .map(str::to_owned);
    let mut load = Load::start(&[&args[..], &["--threads".into(), threads.to_string()]].concat())?;
    let trace = Trace::of(std::process::id(), &wal, &[])?;
    let mut began = None;
    let stood = while_frozen(&below, || {
        load.go()?;
        std::thread::sleep(PAUSE / 4);
        began = Some(std::time::Instant::now());
        rounds(&file, 1, 4096)
    })?;
    let pause = stood.end - began.context("it has not begun")?;
    load.tally()?;
    let calls = trace.calls()?;
    let call = longest(&calls)?;
    // From when the disk goes on, it has those to do that came before; then it has the data of this call.
    let queue = call.phase("queue");
    println!("{scheduler}: {:?}, {pause:?}", call.phases_ns);
    ensure!(queue + call.phase("device") + call.phase("flush") > call.total_ns * 9 / 10, "{:?}", call.phases_ns);
    about("queue", queue, ns(pause))
}

#[test]
fn behind_others_in_a_scheduler_is_the_queue() -> Result<()> {
    behind_others("mq-deadline")
}

#[test]
fn behind_others_for_a_tag_is_the_queue() -> Result<()> {
    behind_others("none")
}

/// A limit of a cgroup holds bios back before they are requests.
#[test]
fn a_limit_of_a_cgroup_is_the_queue() -> Result<()> {
    const BYTES: usize = 1 << 20;
    let mount = Mount::new("ext4-nojournal")?;
    let device = Device::below(mount.path())?;
    let (wal, file) = file(&mount)?;
    rounds(&file, 20, 4096)?;
    let alone = Trace::of(std::process::id(), &wal, &[])?;
    rounds(&file, 1, BYTES)?;
    let alone = total(&alone.calls()?);
    let trace = Trace::of(std::process::id(), &wal, &[])?;
    {
        let throttle = Throttle::new(&device, Limit::Bytes(BYTES as u64))?;
        throttle.this_thread()?;
        rounds(&file, 1, BYTES)?;
    }
    let calls = trace.calls()?;
    let call = longest(&calls)?;
    println!("alone {alone} ns, with a limit {:?}", call.phases_ns);
    // A byte has its time, but for what the limit lets through at its begin.
    ensure!(call.total_ns > 500_000_000, "the limit did nothing: {} ns", call.total_ns);
    about("queue", call.phase("queue"), call.total_ns - alone)
}

/// The cache of a loop device is that of the file below, which it writes out at a flush.
#[test]
fn a_cache_that_is_full_is_the_flush() -> Result<()> {
    const ROUNDS: u64 = 10;
    let mount = Mount::new("ext4-nojournal")?;
    let device = Device::below(mount.path())?;
    let (wal, file) = file(&mount)?;
    rounds(&file, 5, 8 << 20)?;
    let recording = Recording::start("flush", &["block_rq_issue", "block_rq_complete"])?;
    let trace = Trace::of(std::process::id(), &wal, &[])?;
    rounds(&file, ROUNDS, 8 << 20)?;
    let calls = trace.calls()?;
    let flushes = recording.spans(&device, "block_rq_issue", "block_rq_complete", " FF ")?;
    ensure!(!flushes.is_empty(), "no flush was recorded");
    let during = overlap(&[(0, u64::MAX)], &flushes);
    println!(
        "{} flushes in {} calls; flush {} of {} ns",
        flushes.len(),
        calls.len(),
        sum(&calls, "flush"),
        total(&calls)
    );
    ensure!(sum(&calls, "flush") * 10 > total(&calls), "the flush is not a part of it");
    let (flush, on_processors) = (sum(&calls, "flush"), sum(&calls, "cpu") + sum(&calls, "runqueue"));
    println!(
        "flush {flush} ns, recorded {during} ns; meanwhile on processors or waiting for one {on_processors} ns at most"
    );
    // While the device flushes, the thread may still be on its way to wait for that.
    ensure!(flush * 20 <= during * 21, "{flush} ns of flush instead of {during} ns");
    ensure!((flush + on_processors) * 20 >= during * 19, "{flush} ns of flush instead of {during} ns");
    Ok(())
}
