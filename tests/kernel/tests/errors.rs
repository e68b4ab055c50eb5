//! Failed and short calls: the right errno, the right bytes, nothing twice. The test itself is the target, and counts what the
//! kernel answered it.

use std::fs::{File, OpenOptions};

use anyhow::{Context, Result};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::compare;
use stemedb_kernel_tests::fs::Mount;
use stemedb_workload::{Op, Tally};

fn watch(mount: &Mount) -> Result<(Agent, std::path::PathBuf)> {
    let wal = mount.dir("wal")?;
    Ok((Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?, wal))
}

/// Everything about class `wal`, and the errors of class `other`, agree. (Writes of class `other` may be the test
/// harness's own.)
fn check(agent: &Agent, tally: &Tally) -> Result<()> {
    let status = agent.status()?;
    let wrong: Vec<String> =
        compare::differences(&status, tally)?.into_iter().filter(|row| !row.starts_with("other write")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(status.losses().is_empty(), "{:?}", status.losses());
    Ok(())
}

#[test]
fn no_space_on_a_full_tmpfs() -> Result<()> {
    let mount = Mount::tmpfs("1m")?;
    let (agent, wal) = watch(&mount)?;
    let file = File::create(wal.join("log"))?;
    let mut tally = Tally::new();
    let block = vec![1; 300_000];
    let mut short = 0;
    for _ in 0..10 {
        short += u32::from(tally.on("wal").write(&file, &block).is_ok_and(|n| n < block.len()));
    }
    tally.on("wal").fsync(&file)?;
    let _ = tally.on("wal").fallocate(&file, 0, 0, 10 << 20);
    assert_eq!(short, 1, "one write is cut short before the others fail");
    assert!(tally.errors("wal", Op::Write, libc::ENOSPC) > 3 && tally.errors("wal", Op::Fallocate, libc::ENOSPC) == 1);
    check(&agent, &tally)
}

#[test]
fn a_disk_that_fails() -> Result<()> {
    let mount = Mount::failing("24m", "96m")?;
    let (agent, wal) = watch(&mount)?;
    let file = File::create(wal.join("log"))?;
    let mut tally = Tally::new();
    let block = vec![7; 1 << 20];
    for _ in 0..60 {
        let _ = tally.on("wal").write(&file, &block);
        let _ = tally.on("wal").fsync(&file);
    }
    assert!(tally.errors("wal", Op::Fsync, libc::EIO) > 0, "{tally:?}");
    // Once the journal has aborted, a write fails with EROFS on 6.18, with the disk's EIO on 6.12, and not at all on 6.1: whatever
    // it was, the agent has to say the same.
    check(&agent, &tally)
}

#[test]
fn wrong_descriptors_and_arguments() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let (agent, wal) = watch(&mount)?;
    let path = wal.join("log");
    let file = File::create(&path)?;
    let reader = File::open(&path)?;
    let mut tally = Tally::new();
    let mut pipe = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    for _ in 0..3 {
        let _ = tally.on("wal").write(&reader, b"x");
        let _ = tally.on("wal").fallocate(&file, 0, 0, 0);
        let _ = tally.on("wal").sync_file_range(&file, 0, 0, 0xff);
        let _ = tally.on("other").fsync(&-1);
        let _ = tally.on("other").fdatasync(&pipe[0]);
        let _ = tally.on("other").fsync(&1_000_000);
    }
    assert_eq!(tally.errors("wal", Op::Write, libc::EBADF), 3);
    assert_eq!(tally.errors("wal", Op::SyncFileRange, libc::EINVAL), 3);
    assert_eq!(tally.errors("wal", Op::Fallocate, libc::EINVAL), 3);
    assert_eq!(tally.errors("other", Op::Fsync, libc::EBADF), 6);
    assert_eq!(tally.errors("other", Op::Fdatasync, libc::EINVAL), 3);
    for end in pipe {
        // SAFETY: ours, and closed once.
        unsafe { libc::close(end) };
    }
    check(&agent, &tally)
}

#[test]
fn a_write_that_a_limit_cuts_short() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let (agent, wal) = watch(&mount)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(wal.join("log"))?;
    let mut tally = Tally::new();
    let before = limit_file_size(libc::RLIM_INFINITY, false)?;
    limit_file_size(10_000, true)?;
    let first = tally.on("wal").write(&file, &[1; 8_000]);
    let second = tally.on("wal").write(&file, &[1; 8_000]);
    let third = tally.on("wal").write(&file, &[1; 8_000]);
    limit_file_size(before, true)?;
    assert_eq!((first?, second?), (8_000, 2_000));
    assert_eq!(third.err().and_then(|error| error.raw_os_error()), Some(libc::EFBIG));
    check(&agent, &tally)
}

/// The soft limit on the size of a file that this process may write; sets it where `set`. Returns the one before.
fn limit_file_size(bytes: u64, set: bool) -> Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure outlives the calls; a signal that is ignored has no handler to be unsafe.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit);
    }
    let before = limit.rlim_cur;
    if set {
        limit.rlim_cur = bytes;
        // SAFETY: as above.
        if unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) } != 0 {
            return Err(std::io::Error::last_os_error()).context("setrlimit");
        }
    }
    Ok(before)
}

#[test]
fn a_failed_sync_covers_nothing() -> Result<()> {
    let mount = Mount::failing("24m", "96m")?;
    let (agent, wal) = watch(&mount)?;
    let file = File::create(wal.join("log"))?;
    let mut tally = Tally::new();
    let mut covered = 0;
    let mut waiting = 0;
    for i in 0..40_u64 {
        if tally.on("wal").pwrite(&file, &vec![7; 1 << 20], i << 20).is_ok() {
            waiting += 1;
        }
        if tally.on("wal").fdatasync(&file).is_ok() {
            covered += waiting;
            waiting = 0;
        }
    }
    let status = agent.status()?;
    let series = status.writes.iter().find(|series| series.class == "wal").context("no writes")?;
    assert!(tally.errors("wal", Op::Fdatasync, libc::EIO) > 0 && waiting > 0);
    assert_eq!(series.group_writes.sum, covered);
    Ok(())
}

/// A system call as a 32-bit program makes it; the kernel takes the number and the arguments as that.
#[cfg(target_arch = "x86_64")]
fn call_as_32_bit(number: u32, first: u32) -> i32 {
    let answer: i32;
    // SAFETY: `int 0x80` changes no register but eax; rbx, which the compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first:r}", "int 0x80", "xchg rbx, {first:r}",
            first = inout(reg) u64::from(first) => _,
            inlateout("eax") number => answer,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    answer
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_32_bit_programs_are_lost_and_said_to_be() -> Result<()> {
    const FSYNC: u32 = 118;
    const GETPID: u32 = 20;
    let mount = Mount::new("tmpfs")?;
    let (agent, wal) = watch(&mount)?;
    let file = File::create(wal.join("log"))?;
    let descriptor = u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&file))?;
    for _ in 0..5 {
        assert_eq!(call_as_32_bit(FSYNC, descriptor), 0);
        // Its number is that of `writev` for a 64-bit program.
        assert_eq!(call_as_32_bit(GETPID, 0), std::process::id().cast_signed());
    }
    let status = agent.status()?;
    assert_eq!(status.losses(), [("compat_syscall", 5)]);
    assert_eq!(status.calls("wal", "fsync") + status.calls("wal", "writev"), 0);
    Ok(())
}

#[test]
fn what_is_submitted_unseen_is_said_to_be() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let (agent, _wal) = watch(&mount)?;
    for _ in 0..3 {
        // SAFETY: without a ring and without a context the kernel refuses both.
        unsafe {
            libc::syscall(libc::SYS_io_uring_enter, -1, 1, 0, 0, 0, 0);
            libc::syscall(libc::SYS_io_submit, 0, 0, 0);
        }
    }
    let status = agent.status()?;
    // A submission counts as lost only where its requests are not seen by themselves.
    let reasons = [("aio", "async_submit"), ("uring", "uring_submit")];
    let lost = reasons.into_iter().filter(|(capability, _)| !status.is_on(capability)).map(|(_, reason)| (reason, 3));
    assert_eq!(status.losses(), lost.collect::<Vec<_>>());
    Ok(())
}
