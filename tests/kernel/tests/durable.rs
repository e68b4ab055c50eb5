//! Writes that are durable when they return: each is a write and a sync, and a group of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use stemedb_ebpf::slots::size_slot;
use stemedb_kernel_tests::agent::{Agent, Status, Writes};
use stemedb_kernel_tests::compare;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_workload::sys::uring::{Call, Request, Ring, Setup};
use stemedb_workload::{Op, Tally};

/// The durable operations.
const DURABLE: [&str; 2] = ["o_sync", "o_dsync"];

fn own(wal: &Path) -> Result<Agent> {
    Agent::watch(&format!("pid={}", std::process::id()), &[("wal", wal)])
}

fn writes(status: &Status) -> Result<&Writes> {
    status.writes.iter().find(|series| series.class == "wal").context("no writes")
}

/// Time of all the syncs of some operations, in nanoseconds.
fn sync_ns(status: &Status, ops: &[&str]) -> u64 {
    status.series.iter().filter(|s| s.class == "wal" && ops.contains(&s.op.as_str())).map(|s| s.sum_ns).sum()
}

/// Runs the load `durable`, and compares all that does not depend on how its threads meet. Gives its report and the status.
fn durable(kind: &str, threads: &str, calls: &str) -> Result<(Value, Status)> {
    let mount = Mount::new(kind)?;
    let wal = mount.dir("wal")?;
    let args = ["durable", "--dir", &wal.display().to_string(), "--threads", threads, "--calls", calls];
    let mut load = Load::start(&args)?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    load.go()?;
    let report = load.json()?;
    let tally: Tally = serde_json::from_value(report.clone())?;
    for errno in [libc::EBADF, libc::EFBIG, libc::EINVAL] {
        let failed = [Op::Write, Op::Pwrite, Op::Pwritev, Op::Pwritev2].map(|op| tally.errors("wal", op, errno));
        assert!(failed.iter().sum::<u64>() > 0, "no write has failed with {errno}");
    }
    let status = agent.status()?;
    compare::equal(&status, &tally)?;
    let number = |name: &str| report[name].as_u64().with_context(|| format!("no {name}"));
    let series = writes(&status)?;
    assert_eq!((series.group_writes.sum, series.group_bytes.sum), (number("writes")?, number("bytes")?));
    // Each successful fsync is a group, if only of no write.
    let groups = report["groups"].as_array().context("no groups")?.len() as u64 + number("durable")?;
    assert_eq!((series.group_writes.count(), series.group_bytes.count()), (groups, groups));
    Ok((report, status))
}

#[test]
fn one_thread_makes_exactly_these_groups() -> Result<()> {
    let (report, status) = durable("ext4", "1", "1500")?;
    let alone = report["durable"].as_u64().context("no number of durable writes")?;
    let mut expected = BTreeMap::from([(size_slot(1), alone)]);
    let mut flushes = alone;
    for group in report["groups"].as_array().context("no groups")? {
        let covered = group.as_u64().context("not a number")?;
        *expected.entry(size_slot(covered)).or_default() += 1;
        flushes += u64::from(covered > 0);
    }
    let series = writes(&status)?;
    assert!(expected.len() > 3 && alone > 300, "{expected:?}");
    assert_eq!(series.group_writes.slots, expected.into_iter().collect::<Vec<_>>());
    assert_eq!(series.flush.count(), flushes);
    Ok(())
}

#[test]
fn eight_threads_on_one_file() -> Result<()> {
    durable("ext4", "8", "2400").map(drop)
}

#[test]
fn on_other_file_systems() -> Result<()> {
    for kind in ["ext4-nojournal", "xfs", "btrfs", "tmpfs", "overlayfs"] {
        durable(kind, "2", "600").with_context(|| kind.to_owned())?;
    }
    Ok(())
}

/// Inside an `O_SYNC` write the file system calls its own fsync, and on an overlay a second write and its fsync. Each sample is
/// there, once: as long as the call is the only write, the time of the writes is that of the syncs and of the flushes.
#[test]
fn a_nested_fsync_inside_an_o_sync_write_keeps_both_samples() -> Result<()> {
    const ROUNDS: u64 = 60;
    for kind in ["ext4", "xfs", "overlayfs"] {
        let mount = Mount::new(kind)?;
        let wal = mount.dir("wal")?;
        let agent = own(&wal)?;
        let open =
            |flags| File::options().create(true).truncate(false).write(true).custom_flags(flags).open(wal.join("log"));
        let (sync, dsync, plain) = (open(libc::O_SYNC)?, open(libc::O_DSYNC)?, open(0)?);
        let mut tally = Tally::new();
        for _ in 0..ROUNDS {
            tally.on("wal").durably(Some(Op::OSync)).write(&sync, &[1; 700])?;
            tally.on("wal").durably(Some(Op::ODsync)).pwrite(&dsync, &[2; 900], 4096)?;
            tally.on("wal").fsync(&plain)?;
        }
        let status = agent.status()?;
        let count =
            |op| (status.calls("wal", op), tally.calls("wal", if op == "fsync" { Op::Fsync } else { Op::OSync }));
        assert_eq!([count("o_sync"), count("o_dsync"), count("fsync")], [(ROUNDS, ROUNDS); 3], "{kind}");
        assert_eq!(
            (status.bytes("wal", "write"), status.bytes("wal", "pwrite64")),
            (700 * ROUNDS, 900 * ROUNDS),
            "{kind}"
        );
        let series = writes(&status)?;
        let durable = sync_ns(&status, &DURABLE);
        assert_eq!(
            (series.sum_ns, series.flush.sum_ns),
            (durable, durable),
            "{kind}: times of writes, flushes and syncs"
        );
        assert_eq!(series.group_writes.slots, [(size_slot(0), ROUNDS), (size_slot(1), 2 * ROUNDS)], "{kind}");
        assert!(status.losses().is_empty(), "{kind}: {:?}", status.losses());
    }
    Ok(())
}

/// A durable write neither takes nor closes the group of the writes that wait.
#[test]
fn a_durable_write_leaves_the_waiting_group_alone() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let agent = own(&wal)?;
    let path = wal.join("log");
    let plain = File::create(&path)?;
    let dsync = File::options().write(true).custom_flags(libc::O_DSYNC).open(&path)?;
    let mut tally = Tally::new();
    tally.on("wal").pwrite(&plain, &[1; 10], 0)?;
    tally.on("wal").pwrite(&plain, &[1; 10], 0)?;
    tally.on("wal").pwrite(&dsync, &[1; 3000], 0)?;
    tally.on("wal").pwrite(&dsync, &[], 0)?;
    tally.on("wal").pwrite(&plain, &[1; 10], 0)?;
    tally.on("wal").fdatasync(&plain)?;
    let status = agent.status()?;
    let series = writes(&status)?;
    assert_eq!(series.group_writes.slots, [(size_slot(1), 1), (size_slot(3), 1)]);
    assert_eq!(series.group_bytes.slots, [(size_slot(30), 1), (size_slot(3000), 1)]);
    assert_eq!(series.flush.count(), 2);
    assert_eq!(status.calls("wal", "o_dsync"), 2, "one of no bytes is a sync, but no group");
    Ok(())
}

/// Requests of io_uring are durable by the same flags.
#[test]
fn durable_requests_of_io_uring() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let agent = own(&wal)?;
    let path = wal.join("log");
    let plain = File::create(&path)?;
    let open = |flags| File::options().write(true).custom_flags(flags).open(&path);
    let (sync, dsync) = (open(libc::O_SYNC)?, open(libc::O_DSYNC)?);
    let files = [plain.as_raw_fd(), sync.as_raw_fd(), dsync.as_raw_fd()];
    for registered_files in [false, true] {
        let mut ring = Ring::new(Setup { registered_files, ..Setup::default() }, &files, 1, 100)?;
        for (file, rw_flags) in
            [(0, 0), (0, libc::RWF_DSYNC), (0, libc::RWF_SYNC), (1, 0), (2, 0), (1, libc::RWF_DSYNC)]
        {
            for forced in [false, true] {
                ring.push(&Request { len: 100, rw_flags, forced, ..Request::new(Call::Write, file) }, ())?;
                ring.submit()?;
                assert_eq!(ring.wait()?.result?, 100);
            }
        }
    }
    let status = agent.status()?;
    let counts = ["io_uring_write", "o_sync", "o_dsync"].map(|op| status.calls("wal", op));
    assert_eq!(counts, [24, 12, 8]);
    assert_eq!(writes(&status)?.group_writes.sum, 20);
    assert!(status.losses().is_empty(), "{:?}", status.losses());
    Ok(())
}

/// `pwritev2` with flags of its own, `sync_file_range` with every combination of flags, and `syncfs`.
#[test]
fn flags_of_the_calls() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let agent = own(&wal)?;
    let file = File::create(wal.join("log"))?;
    let mut tally = Tally::new();
    let parts = [IoSlice::new(&[1; 100]), IoSlice::new(&[2; 300])];
    for (flags, durable) in [
        (libc::RWF_HIPRI, None),
        (libc::RWF_APPEND, None),
        (libc::RWF_NOWAIT, None),
        (libc::RWF_APPEND | libc::RWF_DSYNC, Some(Op::ODsync)),
        (libc::RWF_SYNC | libc::RWF_DSYNC, Some(Op::OSync)),
    ] {
        for offset in [0, 100_000, 5_000_000] {
            let result = tally.on("wal").durably(durable).pwritev2(&file, &parts, offset, flags);
            let answer = result.map_err(|error| error.raw_os_error());
            // Not every file system can tell beforehand whether a write would wait.
            let refused = [libc::EAGAIN, libc::EOPNOTSUPP].map(|errno| Err(Some(errno))).contains(&answer);
            assert!(answer == Ok(400) || refused && flags == libc::RWF_NOWAIT, "{flags}: {answer:?}");
        }
    }
    // A flag that there is not.
    let refused = tally.on("wal").pwritev2(&file, &parts, 0, 1 << 30).map_err(|error| error.raw_os_error());
    assert_eq!(refused, Err(Some(libc::EOPNOTSUPP)));
    for flags in 0..16 {
        let result = tally.on("wal").sync_file_range(&file, 0, 4096, flags).map_err(|error| error.raw_os_error());
        assert_eq!(result, if flags < 8 { Ok(0) } else { Err(Some(libc::EINVAL)) }, "{flags}");
    }
    tally.on("wal").syncfs(&file)?;
    let wrong = compare::differences(&agent.status()?, &tally)?;
    let wrong: Vec<_> = wrong.into_iter().filter(|row| !row.starts_with("other write")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
