//! libaio: counted request by request where the kernel lets the agent see them, else call by call as lost.

use std::path::Path;

use anyhow::{Context, Result};
use stemedb_kernel_tests::agent::{Agent, Status};
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::{compare, fio, scaled};
use stemedb_workload::{Op, Tally};

/// Requests of a load.
const CALLS: u64 = 3_000;
/// So many that every kind of failure is among them.
const ENOUGH: u64 = 900;
/// The operations that are counted only with the capability `aio`.
const AIO: [Op; 4] = [Op::AioPwrite, Op::AioPwritev, Op::AioFsync, Op::AioFdsync];

/// Fails unless the agent has counted the requests, or has said that it could not.
fn check(status: &Status, tally: &Tally, submits: Option<u64>) -> Result<()> {
    if status.is_on("aio") {
        return compare::equal(status, tally);
    }
    let lost = status.lost.get("async_submit").copied().unwrap_or(0);
    assert!(lost > 0 && submits.is_none_or(|submits| submits == lost), "{lost} of {submits:?} calls of io_submit");
    compare::equal_but_for(status, &Tally::new(), &[("async_submit", lost)])
}

fn on(kind: &str) -> Result<()> {
    let mount = Mount::new(kind)?;
    let wal = mount.dir("wal")?;
    let calls = scaled(CALLS).max(ENOUGH);
    let args = ["aio", "--dir", &wal.display().to_string(), "--threads", "3", "--calls", &calls.to_string()];
    let mut load = Load::start(&args)?;
    let agent = Agent::watch(&format!("pid={}", load.pid()), &[("wal", &wal)])?;
    load.go()?;
    let report = load.json()?;
    let submits = report["submits"].as_u64().context("no number of submissions")?;
    let tally: Tally = serde_json::from_value(report)?;
    assert_eq!(AIO.iter().map(|op| tally.calls("wal", *op)).sum::<u64>(), calls, "the load did what it was told");
    for (op, errno) in [(Op::AioPwrite, libc::EFBIG), (Op::AioPwritev, libc::EFBIG), (Op::AioPwrite, libc::EINVAL)] {
        assert!(tally.errors("wal", op, errno) > 0, "{op:?} has not failed with {errno}");
    }
    check(&agent.status()?, &tally, Some(submits))
}

#[test]
fn requests_of_every_kind_on_ext4() -> Result<()> {
    on("ext4")
}

#[test]
fn requests_of_every_kind_on_xfs() -> Result<()> {
    on("xfs")
}

/// fio makes its syncs by the system calls.
fn by_fio(wal: &Path, sync: (&str, Op), flags: &[&str]) -> Result<()> {
    let agent = Agent::watch("comm=fio", &[("wal", wal)])?;
    let counts = fio::run(wal, &[&["--ioengine=libaio", "--iodepth=8", sync.0], flags].concat())?;
    assert!(counts.writes > 300 && counts.syncs > 10, "{counts:?}");
    let status = agent.status()?;
    assert_eq!(status.calls("wal", if sync.1 == Op::Fsync { "fsync" } else { "fdatasync" }), counts.syncs);
    let aio = (status.calls("wal", "aio_pwrite"), status.bytes("wal", "aio_pwrite"));
    if status.is_on("aio") {
        assert_eq!((aio, status.losses()), ((counts.writes, counts.bytes), vec![]));
    } else {
        // One call submits one write or more.
        let lost = status.lost.get("async_submit").copied().unwrap_or(0);
        assert_eq!((aio, status.losses()), ((0, 0), vec![("async_submit", lost)]));
        assert!(lost > 0 && lost <= counts.writes, "{lost} calls for {} writes", counts.writes);
    }
    Ok(())
}

#[test]
fn fio_with_libaio() -> Result<()> {
    let mount = Mount::new("ext4")?;
    by_fio(&mount.dir("a")?, ("--fsync=16", Op::Fsync), &[])?;
    by_fio(&mount.dir("b")?, ("--fdatasync=16", Op::Fdatasync), &["--direct=1", "--bs=4k"])
}
