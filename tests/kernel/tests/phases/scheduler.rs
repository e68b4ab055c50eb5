//! Processors: against what the scheduler itself says of the thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::scaled;
use stemedb_kernel_tests::trace::{Call, Trace, sum, total};

use super::work::{about, file, rounds, thread_id};

/// Nanoseconds on processors and waiting for one, of the calling thread (Documentation/scheduler/sched-stats.rst).
fn schedstat() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").context("a kernel with CONFIG_SCHED_INFO?")?;
    let mut words = text.split_ascii_whitespace().map(str::parse);
    Ok((words.next().context("nothing")??, words.next().context("no second figure")??))
}

/// Calls with more threads that spin than there are processors; all calls, and how long the scheduler says that the thread waited
/// during those.
fn crowded<L>(
    spinners: usize,
    calls: u64,
    bytes: usize,
    limit: impl FnOnce() -> Result<L>,
) -> Result<(Vec<Call>, u64)> {
    let mount = Mount::new("ext4")?;
    let (wal, file) = file(&mount)?;
    rounds(&file, 10, 4096)?;
    let trace = Trace::of(std::process::id(), &wal, &[])?;
    let data = vec![b'x'; bytes];
    // The trace itself is outside of it.
    let limit = limit()?;
    let done = AtomicBool::new(false);
    let waited = std::thread::scope(|scope| -> Result<u64> {
        for _ in 0..spinners {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = (|| {
            let mut waited = 0;
            for _ in 0..calls {
                std::io::Write::write_all(&mut &file, &data)?;
                let before = schedstat()?.1;
                file.sync_data()?;
                waited += schedstat()?.1 - before;
            }
            Ok(waited)
        })();
        done.store(true, Ordering::Relaxed);
        result
    })?;
    drop(limit);
    let traced = trace.calls()?;
    ensure!(traced.len() as u64 == calls, "{} of {calls} calls were traced", traced.len());
    Ok((traced, waited))
}

#[allow(clippy::unnecessary_wraps, reason = "in the place of what makes a limit")]
fn unlimited() -> Result<()> {
    Ok(())
}

/// More threads spin than there are processors.
#[test]
fn a_crowd_makes_a_run_queue() -> Result<()> {
    let processors = std::thread::available_parallelism()?.get();
    let calls = scaled(400);
    let (alone, _) = crowded(0, calls, 4096, unlimited)?;
    let (traced, waited) = crowded(processors * 3, calls, 4096, unlimited)?;
    let runqueue = sum(&traced, "runqueue");
    println!("alone: {} of {} ns", sum(&alone, "runqueue"), total(&alone));
    println!("crowded: {runqueue} of {} ns", total(&traced));
    ensure!(runqueue > 10 * sum(&alone, "runqueue"), "the time did not move to the run queue");
    about("run queue", runqueue, waited)
}

/// A cgroup that is given back when this is dropped.
struct Quota {
    cgroup: PathBuf,
    /// The file of a cgroup that lists what is in it.
    members: &'static str,
}

impl Quota {
    /// A tenth of a processor: for the calling thread where the cpu controller has a hierarchy of its own (cgroup v1), else for this
    /// process.
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let own = fields.find(|mount| mount[2] == "cgroup" && mount[3].split(',').any(|option| option == "cpu"));
        let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let unified = fields.find(|mount| mount[2] == "cgroup2");
        let root = own.as_ref().or(unified.as_ref()).context("no cgroups are mounted")?[1];
        let cgroup = Path::new(root).join(format!("stemedb-test-{}", std::process::id()));
        if own.is_none() {
            fs::write(Path::new(root).join("cgroup.subtree_control"), "+cpu").context("no cpu controller")?;
        }
        fs::create_dir(&cgroup).with_context(|| cgroup.display().to_string())?;
        let members = if own.is_some() { "tasks" } else { "cgroup.procs" };
        let quota = Self { cgroup, members };
        if own.is_some() {
            fs::write(quota.cgroup.join("cpu.cfs_period_us"), "20000")?;
            fs::write(quota.cgroup.join("cpu.cfs_quota_us"), "2000")?;
        } else {
            fs::write(quota.cgroup.join("cpu.max"), "2000 20000")?;
        }
        quota.enter(&quota.cgroup)?;
        Ok(quota)
    }

    fn enter(&self, cgroup: &Path) -> Result<()> {
        let id = if self.members == "tasks" { thread_id()? } else { std::process::id().to_string() };
        Ok(fs::write(cgroup.join(self.members), id)?)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        if let Some(root) = self.cgroup.parent()
            && let Err(error) = self.enter(root)
        {
            eprintln!("{}: {error}", root.display());
        }
        if let Err(error) = fs::remove_dir(&self.cgroup) {
            eprintln!("{}: {error}", self.cgroup.display());
        }
    }
}

/// With a quota. From 6.18 on the kernel takes the processor from a thread that has used it up only at the return to the program
/// (`throttle_cfs_rq_work`): then that time is behind the calls, and no part of them; before, it is in them.
#[test]
fn a_quota_is_as_the_scheduler_says() -> Result<()> {
    // So much data that what is between the calls is nothing beside them.
    const BYTES: usize = 1 << 20;
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let at_return = symbols.lines().any(|line| line.ends_with(" throttle_cfs_rq_work"));
    let (alone, _) = crowded(0, scaled(100), BYTES, unlimited)?;
    let (traced, waited) = crowded(0, scaled(100), BYTES, Quota::new)?;
    let runqueue = sum(&traced, "runqueue");
    println!("{runqueue} ns on the run queue, {waited} ns waited; at the return: {at_return}");
    ensure!(waited > 10 * sum(&alone, "runqueue"), "the quota did nothing");
    if at_return {
        // What is left are the wake-ups in the calls.
        ensure!(runqueue * 10 < waited, "{runqueue} ns of {waited} ns are in the calls");
        return Ok(());
    }
    about("run queue", runqueue, waited)
}

/// What a call does by itself is on a processor: on tmpfs it does nothing else.
#[test]
fn what_does_not_wait_is_on_a_processor() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let (wal, file) = file(&mount)?;
    let trace = Trace::of(std::process::id(), &wal, &[])?;
    rounds(&file, 2_000, 512)?;
    let traced = trace.calls()?;
    for phase in ["flush", "journal", "device", "queue", "other"] {
        ensure!(sum(&traced, phase) == 0, "{phase}: {} ns", sum(&traced, phase));
    }
    ensure!(sum(&traced, "cpu") + sum(&traced, "runqueue") == total(&traced));
    Ok(())
}
