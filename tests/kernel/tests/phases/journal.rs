//! The journal: against the commits that the kernel tells of by itself.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::block::Device;
use stemedb_kernel_tests::fs::{Mount, run};
use stemedb_kernel_tests::scaled;
use stemedb_kernel_tests::trace::{Call, Trace, sum, total};
use stemedb_kernel_tests::tracefs::Recording;
use stemedb_probe::process::monotonic_ns;

use super::work::{about, file, overlap, rounds};

/// When each call began and ended, on the monotonic clock: the calls of one thread, one after the other, whose own clock has it.
struct Timed {
    spans: Vec<(u64, u64)>,
    calls: Vec<Call>,
}

/// Syncs while another thread changes many directories, so that each commit has much to write.
fn with_large_transactions(mount: &Mount) -> Result<Timed> {
    let (wal, file) = file(mount)?;
    rounds(&file, 10, 4096)?;
    let others = mount.dir("others")?;
    let trace = Trace::of(std::process::id(), &wal, &[])?;
    let done = AtomicBool::new(false);
    let spans = std::thread::scope(|scope| -> Result<Vec<(u64, u64)>> {
        scope.spawn(|| {
            let mut n = 0_u64;
            while !done.load(Ordering::Relaxed) {
                n += 1;
                let dir = others.join(format!("{}", n % 50));
                let _ = std::fs::create_dir_all(&dir);
                let _ = std::fs::write(dir.join(format!("{n:0>100}")), b"");
            }
        });
        let result = (|| {
            let mut spans = Vec::new();
            for _ in 0..scaled(100) {
                // There is the more to commit, the longer the others have been at work.
                std::thread::sleep(Duration::from_millis(30));
                std::io::Write::write_all(&mut &file, &[b'x'; 4096])?;
                let began = monotonic_ns();
                file.sync_all()?;
                spans.push((began, monotonic_ns()));
            }
            Ok(spans)
        })();
        done.store(true, Ordering::Relaxed);
        result
    })?;
    let calls = trace.calls()?;
    ensure!(calls.len() == spans.len(), "{} of {} calls", calls.len(), spans.len());
    Ok(Timed { spans, calls })
}

/// On a disk in memory, whose cache is nothing to flush, the journal is most of a sync.
#[test]
fn commits_are_the_journal() -> Result<()> {
    let below = Mount::tmpfs("1g")?;
    let image = below.path().join("image");
    run("truncate", &[OsStr::new("-s"), OsStr::new("900M"), image.as_os_str()])?;
    let args = ["-q", "-F", "-N", "200000", "-J", "size=256", "-E", "lazy_itable_init=0,nodiscard"].map(OsStr::new);
    run("mkfs.ext4", &[&args[..], &[image.as_os_str()]].concat())?;
    let mount = Mount::loop_of(&image)?;
    let device = Device::below(mount.path())?;
    let recording = Recording::start_in("jbd2", "commits", &["jbd2_start_commit", "jbd2_end_commit"])?;
    let Timed { spans, calls } = with_large_transactions(&mount)?;
    let commits = recording.spans(&device, "jbd2_start_commit", "jbd2_end_commit", "transaction")?;
    let committed = overlap(&spans, &commits);
    let (journal, flush) = (sum(&calls, "journal"), sum(&calls, "flush"));
    println!("{} commits; journal {journal}, flush {flush} of {} ns", commits.len(), total(&calls));
    ensure!(journal * 5 > total(&calls), "the journal is not much of it");
    // The flush of a commit is in the commit. The thread is on the processor, or waits for it, as the commit begins or ends.
    about("journal and flush", journal + flush, committed)
}

#[test]
fn without_a_journal_there_is_none() -> Result<()> {
    let mount = Mount::new("ext4-nojournal")?;
    let Timed { calls, .. } = with_large_transactions(&mount)?;
    ensure!(sum(&calls, "journal") == 0, "{} ns of journal", sum(&calls, "journal"));
    ensure!(sum(&calls, "device") != 0 && sum(&calls, "flush") != 0);
    Ok(())
}

/// Each file system has its own, and its own functions that wait for it.
#[test]
fn logs_of_other_file_systems_are_journals() -> Result<()> {
    for kind in ["ext4", "xfs", "btrfs"] {
        let mount = Mount::new(kind)?;
        let (wal, file) = file(&mount)?;
        rounds(&file, 5, 4096)?;
        let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?;
        for _ in 0..100 {
            std::io::Write::write_all(&mut &file, &[b'x'; 4096])?;
            file.sync_all()?;
        }
        let status = agent.status()?;
        let one = status.series.iter().find(|one| one.class == "wal" && one.op == "fsync");
        let one = one.ok_or_else(|| anyhow::anyhow!("{kind}: no fsync"))?;
        println!("{kind}: {:?} of {} ns", one.phases_ns, one.sum_ns);
        let phase = |name: &str| one.phases_ns.get(name).copied().unwrap_or(0);
        ensure!(phase("journal") != 0 && phase("flush") != 0, "{kind}: {:?}", one.phases_ns);
        ensure!(phase("other") * 4 < one.sum_ns, "{kind}: most is known: {:?}", one.phases_ns);
    }
    Ok(())
}
