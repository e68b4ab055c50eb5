//! `trace` and the list of slow calls: what they tell of a call, how they end, and that they keep up or say what they have dropped.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::block::Device;
use stemedb_kernel_tests::fs::{Mount, run};
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::trace::{Call, Trace};
use stemedb_kernel_tests::{binary, scaled, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// One write and one sync of a new file, and what the kernel says of it.
fn one(path: &Path, bytes: usize) -> Result<fs::Metadata> {
    let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
    file.write_all(&vec![b'x'; bytes])?;
    file.sync_data()?;
    Ok(file.metadata()?)
}

fn find(calls: &[Call], inode: u64) -> Result<&Call> {
    calls.iter().find(|call| call.inode == inode).with_context(|| format!("no call for inode {inode}: {calls:?}"))
}

/// What a call was, to the byte.
#[test]
fn a_call_is_told_as_it_was() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let deep = wal.join("a directory/with ü");
    fs::create_dir_all(&deep)?;
    let trace = Trace::of(std::process::id(), &wal, &[])?;
    let plain = one(&deep.join("000001.wal"), 12_345)?;
    // A name that is gone, and one that is another's by now.
    let path = wal.join("unlinked");
    let mut unlinked = OpenOptions::new().create_new(true).write(true).open(&path)?;
    unlinked.write_all(b"x")?;
    fs::remove_file(&path)?;
    fs::write(&path, b"another")?;
    unlinked.sync_all()?;
    let mut renamed = OpenOptions::new().create_new(true).write(true).open(wal.join("before"))?;
    renamed.write_all(b"xy")?;
    fs::rename(wal.join("before"), wal.join("after"))?;
    renamed.sync_all()?;
    let calls = trace.calls()?;
    let call = find(&calls, plain.ino())?;
    ensure!(call.path.as_deref() == deep.join("000001.wal").to_str(), "{call:?}");
    ensure!((call.bytes, call.writes, call.op.as_str(), call.class.as_str()) == (12_345, 1, "fdatasync", "wal"));
    ensure!(call.device == Device::below(mount.path())?.name && call.target == "t" && !call.unlinked);
    let comm = fs::read_to_string("/proc/thread-self/comm")?;
    let tid = fs::read_link("/proc/thread-self")?;
    ensure!(call.comm == comm.trim_end() && call.pid == std::process::id(), "{call:?}");
    ensure!(tid.ends_with(call.tid.to_string()), "{call:?}");
    ensure!(call.time.ends_with('Z') && call.time.starts_with("20"), "{}", call.time);
    let call = find(&calls, unlinked.metadata()?.ino())?;
    ensure!(call.unlinked && call.path.as_deref() == path.to_str() && call.op == "fsync", "{call:?}");
    let call = find(&calls, renamed.metadata()?.ino())?;
    ensure!(!call.unlinked && call.path.as_deref() == wal.join("after").to_str(), "{call:?}");
    Ok(())
}

/// The path is the one that the process itself would use, in its own root and its own mounts.
#[test]
fn a_path_is_as_its_process_sees_it() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let root = mount.dir("root")?;
    let wal = mount.dir("root/data/wal")?;
    fs::copy(binary("stemedb-workload")?, root.join("load"))?;
    let libraries = Command::new("ldd").arg(binary("stemedb-workload")?).output()?;
    for library in String::from_utf8(libraries.stdout)?.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().context("no folder")?)?;
        fs::copy(library, copy)?;
    }
    for device in ["dev", "proc", "tmp"] {
        fs::create_dir_all(root.join(device))?;
    }
    run(
        "mount",
        &["-t", "proc", "proc"]
            .map(std::ffi::OsStr::new)
            .into_iter()
            .chain([root.join("proc").as_os_str()])
            .collect::<Vec<_>>(),
    )?;
    let result = (|| {
        let mut chroot = Command::new("chroot");
        chroot.arg(&root).args(["/load", "latency", "--dir", "/data/wal", "--calls", "5"]);
        let mut load = Load::start_command(chroot)?;
        let trace = Trace::of(load.pid(), &wal, &[])?;
        load.run()?;
        trace.calls()
    })();
    run("umount", &[root.join("proc").as_os_str()])?;
    let calls = result?;
    ensure!(calls.len() == 5, "{calls:?}");
    for call in &calls {
        let path = call.path.as_deref().context("no path")?;
        ensure!(path.starts_with("/data/wal/append-"), "{path}");
    }
    Ok(())
}

/// Only those that are slow enough.
#[test]
fn what_is_fast_is_not_told() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let target = format!("t:pid={}", std::process::id());
    let class = format!("t:wal={}", wal.display());
    let trace = Trace::start(&["--target", &target, "--class", &class, "--slower-than", "5s"])?;
    one(&wal.join("1"), 1)?;
    let (status, said) = trace.interrupt()?;
    ensure!(status.success() && said.contains("0 of 1 sync calls took 5.00 s or more"), "{said}");
    Ok(())
}

/// A header every screen, a line a call with a bar, and a summary; `--count` and `--seconds` end it.
#[test]
fn people_get_lines_and_a_summary() -> Result<()> {
    const CALLS: usize = 100;
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let target = format!("t:pid={}", std::process::id());
    let class = format!("t:wal={}", wal.display());
    let args = ["--slower-than", "0", "--target", &target, "--class", &class];
    let trace = Trace::start(&[&args[..], &["--count", "100"]].concat())?;
    for n in 0..CALLS {
        one(&wal.join(n.to_string()), 4096)?;
    }
    let (status, said) = trace.wait()?;
    ensure!(status.success(), "{status}");
    let headers = said.lines().filter(|line| line.starts_with("TIME")).count();
    let lines: Vec<_> = said.lines().filter(|line| line.contains(" fdatasync ") && line.contains('[')).collect();
    ensure!(headers == CALLS.div_ceil(40), "{headers} headers\n{said}");
    ensure!(
        lines.len() == CALLS && lines.iter().all(|line| line.contains("4 KiB") && line.contains(" wal ")),
        "{said}"
    );
    for line in &lines {
        let bar = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).context("no bar")?.0;
        ensure!(bar.len() == 20 && bar.chars().all(|letter| "crFJDQ.".contains(letter)), "{line}");
    }
    let (_, summary) = said.split_once("sync calls took 0 ns or more").context("no summary")?;
    let row = summary.lines().find(|line| line.starts_with("t ")).with_context(|| summary.to_owned())?;
    let words: Vec<_> = row.split_whitespace().collect();
    ensure!(words[..4] == ["t", "wal", "fdatasync", "100"], "{row}");
    let shares = words.iter().filter_map(|word| word.strip_suffix('%')).map(str::parse::<f64>);
    let shares: f64 = shares.collect::<Result<Vec<_>, _>>()?.iter().sum();
    ensure!((shares - 100.0).abs() < 0.5, "{row}");
    let began = std::time::Instant::now();
    let (status, said) = Trace::start(&[&args[..], &["--seconds", "1"]].concat())?.wait()?;
    ensure!(status.success() && said.contains("0 of 0 sync calls") && began.elapsed() < SOON, "{said}");
    Ok(())
}

/// At the speed of a file system in memory: each call is told, or counted as dropped.
#[test]
fn it_keeps_up_or_says_what_it_dropped() -> Result<()> {
    let mount = Mount::new("tmpfs")?;
    let wal = mount.dir("wal")?;
    let calls = scaled(300_000);
    let args = ["latency", "--dir", &wal.display().to_string(), "--threads", "2", "--calls", &calls.to_string()]
        .map(str::to_owned);
    let mut load = Load::start(&args)?;
    let trace = Trace::start(&[
        "--json",
        "--slower-than",
        "0",
        "--target",
        &format!("t:pid={}", load.pid()),
        "--class",
        &format!("t:wal={}", wal.display()),
    ])?;
    let began = std::time::Instant::now();
    load.run()?;
    let rate = calls as f64 / began.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(1));
    let log = trace_end(trace)?;
    println!("{rate:.0} syncs/s: {} told, {} dropped", log.told, log.dropped);
    ensure!(log.told + log.dropped == calls, "{} told and {} dropped of {calls}", log.told, log.dropped);
    // Slower than that, nothing is.
    ensure!(rate > 50_000.0 || log.dropped == 0, "{} dropped at {rate:.0} syncs/s", log.dropped);
    Ok(())
}

struct End {
    told: u64,
    dropped: u64,
}

fn trace_end(trace: Trace) -> Result<End> {
    let log = trace.shared_log();
    let (status, said) = trace.interrupt()?;
    ensure!(status.success(), "{status}");
    let told = said.lines().count() as u64;
    // It is the last line, if it is there.
    std::thread::sleep(Duration::from_millis(200));
    let log = log.lock().map(|log| log.clone()).unwrap_or_default();
    let dropped = log.lines().find_map(|line| line.split_once(" calls are not here"));
    let dropped = dropped.and_then(|(before, _)| before.rsplit(' ').next()).map_or(Ok(0), str::parse)?;
    Ok(End { told, dropped })
}

#[derive(Deserialize)]
struct Slowest {
    seconds: u64,
    capacity: usize,
    slower_than_ns: u64,
    calls: Vec<Call>,
}

/// The slowest calls are kept, the slowest first, and no more than there is room for.
#[test]
fn the_slowest_calls_of_the_last_hour() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let agent = Agent::watch(&format!("pid={}", std::process::id()), &[("wal", &wal)])?;
    let slowest = || -> Result<Slowest> { Ok(serde_json::from_str(&agent.get("/api/v1/slow", "application/json")?)?) };
    let mut all = Vec::new();
    let mut file = OpenOptions::new().create_new(true).append(true).open(wal.join("segment"))?;
    // Again and again, because the agent looks from time to time how slow a call must be.
    let found = wait_for("a full list", SOON, || {
        for _ in 0..200 {
            let began = std::time::Instant::now();
            file.write_all(&[b'x'; 4096]).and_then(|()| file.sync_data()).ok()?;
            all.push(began.elapsed());
        }
        let found = slowest().ok()?;
        (found.calls.len() == found.capacity).then_some(found)
    })?;
    ensure!((found.seconds, found.capacity) == (3_600, 128));
    ensure!(found.calls.windows(2).all(|two| two[0].total_ns >= two[1].total_ns), "not in order");
    ensure!(
        found
            .calls
            .iter()
            .all(|call| call.parts() == call.total_ns && call.path.as_deref() == wal.join("segment").to_str())
    );
    let last = found.calls.last().context("empty")?.total_ns;
    ensure!(found.slower_than_ns == last + 1, "{} and {last}", found.slower_than_ns);
    // From here on, none that is slower is missed. The test's own clock has more of a call than the agent's.
    let before: u64 = found.calls.iter().map(|call| call.total_ns).sum();
    for _ in 0..2_000 {
        file.write_all(&[b'x'; 4096])?;
        file.sync_data()?;
    }
    let found = slowest()?;
    ensure!(found.calls.len() == 128 && found.calls.iter().map(|call| call.total_ns).sum::<u64>() >= before);
    ensure!(agent.status()?.losses().is_empty(), "{:?}", agent.status()?.losses());
    Ok(())
}

/// Bad usage says what is right.
#[test]
fn bad_usage_says_what_is_right() -> Result<()> {
    for (args, says) in [
        (["--slower-than", "10"], "write a number with ns, us, ms or s"),
        (["--count", "0"], "0 is not in 1.."),
        (["--seconds", "x"], "invalid digit"),
        (["--without", "shed"], "did you mean \"sched\"?"),
        (["--without", "sync"], "cannot be done without"),
    ] {
        let output = Command::new(binary("stemedb-probe")?).arg("trace").args(args).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && said.contains(says), "{args:?}: {said}");
    }
    Ok(())
}
