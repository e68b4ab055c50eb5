//! io_uring: what a program of ours and fio have asked for by it is what the agent has counted, by each of the kernel's ways.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use stemedb_ebpf::slots::{QUANTILE_ERROR, quantile};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::quantiles::{QUANTILES, check_dominance, exact, figures};
use stemedb_kernel_tests::{compare, fio, scaled};
use stemedb_workload::sys::uring::{Call, Request, Ring, Setup};
use stemedb_workload::{Op, Tally};

/// Requests of a load that counts.
const CALLS: u64 = 8_000;
/// So many that every kind of failure is among them.
const ENOUGH: u64 = 1_500;
/// Syncs of a load that keeps their latencies.
const ROUNDS: u64 = 600;

fn strings(command: &str, dir: &Path, calls: u64, flags: &[&str]) -> Vec<String> {
    let numbers = [command, "--dir", &dir.display().to_string(), "--calls", &calls.to_string()].map(str::to_owned);
    numbers.into_iter().chain(flags.iter().map(ToString::to_string)).collect()
}

/// Runs the load `uring` on a file system, and compares. Gives what it counted.
fn on(mount: &Mount, flags: &[&str]) -> Result<Tally> {
    let wal = mount.dir("wal")?;
    let calls = scaled(CALLS).max(ENOUGH);
    let mut load = Load::start(&strings("uring", &wal, calls, &[&["--threads", "3"], flags].concat()))?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    load.go()?;
    let report = load.json()?;
    let skipped = report["skipped"].as_u64().context("no number of requests without a completion")?;
    let tally: Tally = serde_json::from_value(report)?;
    assert_eq!(tally.total_calls() + skipped, calls, "the load did what it was told");
    assert_eq!(skipped > 0, flags.contains(&"--skip-success"));
    compare::equal_but_for(&agent.status()?, &tally, &[("uring_skip", skipped)])?;
    Ok(tally)
}

fn exactly(flags: &[&str]) -> Result<()> {
    let tally = on(&Mount::new("ext4")?, flags)?;
    assert!(tally.errors("wal", Op::UringWrite, libc::EFBIG) > 0);
    // A write without a completion counts as lost when it fails, too.
    assert_eq!(tally.errors("wal", Op::UringWritev, libc::EBADF) > 0, !flags.contains(&"--skip-success"));
    assert!(tally.errors("other", Op::UringFdatasync, libc::EINVAL) > 0);
    if flags.contains(&"--linked") {
        assert!(tally.errors("wal", Op::UringFsync, libc::ECANCELED) > 0);
    }
    Ok(())
}

#[test]
fn inline() -> Result<()> {
    exactly(&[])
}

#[test]
fn on_worker_threads() -> Result<()> {
    exactly(&["--iowq"])
}

#[test]
fn with_a_polling_thread() -> Result<()> {
    exactly(&["--sqpoll"])
}

#[test]
fn with_registered_files_and_memory() -> Result<()> {
    exactly(&["--registered-files"])?;
    exactly(&["--fixed-buffers"])?;
    exactly(&["--registered-files", "--fixed-buffers", "--sqpoll", "--linked"])
}

#[test]
fn writes_that_are_linked_to_their_sync() -> Result<()> {
    exactly(&["--linked"])?;
    exactly(&["--linked", "--iowq"])
}

#[test]
fn completions_that_wait_for_their_thread() -> Result<()> {
    exactly(&["--defer-taskrun"])?;
    exactly(&["--defer-taskrun", "--linked", "--fixed-buffers"])
}

#[test]
fn requests_without_a_completion_are_lost_and_said_to_be() -> Result<()> {
    exactly(&["--skip-success"])?;
    exactly(&["--skip-success", "--sqpoll"])
}

#[test]
fn on_other_file_systems() -> Result<()> {
    for kind in ["xfs", "btrfs", "tmpfs", "overlayfs"] {
        on(&Mount::new(kind)?, &[]).with_context(|| kind.to_owned())?;
    }
    Ok(())
}

#[test]
fn on_a_file_system_that_is_full() -> Result<()> {
    let tally = on(&Mount::tmpfs("1m")?, &["--iowq"])?;
    assert!(tally.errors("wal", Op::UringWrite, libc::ENOSPC) > 0, "{tally:?}");
    assert!(tally.errors("wal", Op::UringFallocate, libc::ENOSPC) > 0, "{tally:?}");
    Ok(())
}

/// What the kernel refuses when it reads the request, before it begins.
#[test]
fn requests_that_are_refused_at_once() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?;
    let file = File::create(wal.join("log"))?;
    let mut ring = Ring::new(Setup::default(), &[file.as_raw_fd()], 1, 100)?;
    for flags in [0, 1, 2, 3, 2] {
        ring.push(&Request::new(Call::Fsync(flags), 0), ())?;
        ring.submit()?;
        let failed = ring.wait()?.result.err().and_then(|error| error.raw_os_error());
        assert_eq!(failed, (flags > 1).then_some(libc::EINVAL));
    }
    let status = agent.status()?;
    let count = |op| (status.calls("wal", op), status.failed("wal", op, "EINVAL"));
    assert_eq!((count("io_uring_fsync"), count("io_uring_fdatasync")), ((3, 2), (2, 1)));
    assert!(status.losses().is_empty(), "{:?}", status.losses());
    Ok(())
}

/// fsync and fdatasync close the file's group, of system calls and requests alike.
#[test]
fn groups_are_of_requests_and_calls_together() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?;
    let file = File::create(wal.join("log"))?;
    let mut ring = Ring::new(Setup::default(), &[file.as_raw_fd()], 1, 100)?;
    let mut calls = Tally::new();
    let mut request = |call, len| -> Result<()> {
        ring.push(&Request { len, ..Request::new(call, 0) }, ())?;
        ring.submit()?;
        assert_eq!(ring.wait()?.result?, len);
        Ok(())
    };
    // Groups of 2 and 3 writes.
    request(Call::Write, 10)?;
    calls.on("wal").pwrite(&file, &[1; 20], 0)?;
    request(Call::Fsync(1), 0)?;
    request(Call::Writev, 30)?;
    calls.on("wal").pwrite(&file, &[1; 40], 0)?;
    request(Call::Write, 50)?;
    calls.on("wal").fdatasync(&file)?;
    let status = agent.status()?;
    let writes = status.writes.iter().find(|series| series.class == "wal").context("no writes")?;
    assert_eq!((writes.group_writes.sum, writes.group_bytes.sum), (5, 150));
    assert_eq!(writes.group_writes.slots, [(2, 1), (3, 1)], "one of 2, and one of 3 or 4");
    assert_eq!(writes.flush.count(), 2);
    assert!(status.losses().is_empty(), "{:?}", status.losses());
    Ok(())
}

/// The kernel's latencies are between two of the load's: one from before a request is submitted to after its completion is seen,
/// and one from after the kernel has taken it to the last look that did not find a completion.
fn quantiles_between(dir: &Path, flags: &[&str]) -> Result<()> {
    let mut load = Load::start(&strings("uring-latency", dir, ROUNDS, flags))?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", dir)])?;
    load.go()?;
    let report = load.json()?;
    let mut within = figures(&report["within_ns"])?;
    let tally: Tally = serde_json::from_value(report)?;
    let status = agent.status()?;
    compare::equal(&status, &tally)?;
    let slots = status.sync_slots("wal");
    let mut outside = tally.sync_ns("wal").to_vec();
    ensure!(within.len() == outside.len() && outside.len() as u64 == ROUNDS, "{} {}", within.len(), outside.len());
    let narrow = within.iter().zip(&outside).filter(|(within, outside)| **within * 2 > **outside).count();
    within.sort_unstable();
    outside.sort_unstable();
    check_dominance(&slots, &outside)?;
    for q in QUANTILES {
        let kernel = quantile(&slots, q).context("nothing counted")?;
        let high = exact(&outside, q) * (1.0 + QUANTILE_ERROR);
        // The kernel stamps a completion just before anybody can see it: that may move a latency into the next lower slot.
        let low = exact(&within, q) * (1.0 - 3.0 * QUANTILE_ERROR);
        println!("{flags:?} p{}: {low:.6} <= {kernel:.6} <= {high:.6}", q * 100.0);
        assert!(kernel >= low && kernel <= high, "{flags:?} p{}: {low} <= {kernel} <= {high}", q * 100.0);
    }
    assert!(narrow * 10 > outside.len(), "{narrow} bounds are narrow, too few to say anything");
    Ok(())
}

#[test]
fn quantiles_on_a_quiet_disk() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    for flags in [&[][..], &["--iowq"], &["--linked"], &["--defer-taskrun"], &["--sqpoll", "--fixed-buffers"]] {
        quantiles_between(&wal, flags)?;
    }
    Ok(())
}

#[test]
fn quantiles_on_a_loaded_disk() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let noise = mount.dir("noise")?;
    let args =
        ["hold", "--dir", &noise.display().to_string(), "--size", "65536", "--seconds", "300"].map(str::to_owned);
    let mut neighbour = Load::start(&args)?;
    neighbour.go()?;
    quantiles_between(&mount.dir("wal")?, &["--threads", "2"])
}

/// Runs fio and compares with its own report, and with the number of bytes in its file's blocks.
fn by_fio(op: &str, sync: &str, flags: &[&str]) -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch("comm=fio", &[("wal", &wal)])?;
    let counts = fio::run(&wal, &[&["--ioengine=io_uring"], flags].concat())?;
    assert!(fs::read_dir(&wal)?.count() == 1 && counts.writes > 300, "{counts:?}");
    assert_eq!(counts.syncs > 10, !sync.is_empty(), "{counts:?}");
    let status = agent.status()?;
    let mut seen: Vec<(&str, u64, u64)> = Vec::new();
    seen.extend(status.series.iter().filter(|s| s.class == "wal" && s.calls > 0).map(|s| (s.op.as_str(), s.calls, 0)));
    let writes = status.writes.iter().filter(|series| series.class == "wal").flat_map(|series| &series.ops);
    seen.extend(writes.map(|write| (write.op.as_str(), write.calls, write.bytes)));
    let expected = [(sync, counts.syncs, 0), (op, counts.writes, counts.bytes)];
    assert_eq!(seen, expected[usize::from(sync.is_empty())..], "{flags:?}");
    assert!(status.errors.iter().all(|error| error.class != "wal"), "{:?}", status.errors);
    assert!(status.losses().is_empty(), "{:?}", status.losses());
    Ok(())
}

#[test]
fn fio_with_fsync() -> Result<()> {
    by_fio("io_uring_write", "io_uring_fsync", &["--iodepth=8", "--fsync=16"])?;
    by_fio("io_uring_writev", "io_uring_fsync", &["--iodepth=8", "--fsync=16", "--nonvectored=0"])?;
    by_fio("io_uring_write", "io_uring_fsync", &["--iodepth=8", "--fsync=16", "--sqthread_poll"])
}

#[test]
fn fio_with_fdatasync_registered_files_and_memory() -> Result<()> {
    by_fio("io_uring_write", "io_uring_fdatasync", &["--iodepth=4", "--fdatasync=8", "--registerfiles"])?;
    by_fio(
        "io_uring_write",
        "io_uring_fdatasync",
        &["--iodepth=8", "--fdatasync=8", "--registerfiles", "--sqthread_poll"],
    )?;
    by_fio("io_uring_write_fixed", "", &["--iodepth=8", "--fixedbufs", "--registerfiles"])?;
    by_fio("io_uring_write_fixed", "", &["--iodepth=8", "--fixedbufs", "--registerfiles", "--sqthread_poll"])?;
    // With more in flight the kernel refuses the syncs of fio 3.33: it leaves the number of a registered buffer in them.
    let all = ["--iodepth=1", "--fdatasync=8", "--fixedbufs", "--registerfiles", "--sqthread_poll"];
    by_fio("io_uring_write_fixed", "io_uring_fdatasync", &all)
}
