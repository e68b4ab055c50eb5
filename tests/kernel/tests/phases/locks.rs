//! Two threads that sync one file.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use stemedb_kernel_tests::fs::{Frozen, Mount};
use stemedb_kernel_tests::trace::Trace;

use super::work::{PAUSE, about, file, ns, open, rounds};

/// The first has the inode and waits for the disk; the second waits for the inode.
#[test]
fn who_waits_for_the_other_is_in_other() -> Result<()> {
    let below = Mount::new("ext4")?;
    let mount = super::disk::on_another(&below)?;
    let (wal, first) = file(&mount)?;
    rounds(&first, 20, 4096)?;
    first.sync_all()?;
    let second = open(&wal.join("segment"))?;
    let trace = Trace::of(std::process::id(), &wal, &[])?;
    // No data: only the inode is to be written, and who does that has it.
    let touch = |file: &std::fs::File| file.set_modified(SystemTime::now());
    let frozen = Frozen::new(below.path())?;
    let waited = std::thread::scope(|scope| -> Result<Duration> {
        touch(&first)?;
        let one = scope.spawn(|| first.sync_all());
        std::thread::sleep(PAUSE / 4);
        touch(&second)?;
        let began = Instant::now();
        let other = scope.spawn(|| second.sync_all());
        std::thread::sleep(PAUSE);
        drop(frozen);
        let waited = began.elapsed();
        for thread in [one, other] {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(waited)
    })?;
    let calls = trace.calls()?;
    for call in &calls {
        println!("{} ns: {:?}", call.total_ns, call.phases_ns);
    }
    let by = |phase: &str| calls.iter().max_by_key(|call| call.phase(phase)).context("no call");
    let (device, other) = (by("device")?, by("other")?);
    ensure!(device.tid != other.tid, "one and the same");
    about("device of the first", device.phase("device"), ns(waited + PAUSE / 4))?;
    about("other of the second", other.phase("other"), ns(waited))
}
