//! Syncs that others carry out: workers of io_uring.

use anyhow::{Result, ensure};
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::load::Load;
use stemedb_kernel_tests::scaled;
use stemedb_kernel_tests::trace::{Trace, sum, total};

/// Where the time goes is known for a request as well, but for what is between its submission and the first time that its worker waits.
#[test]
fn of_io_uring_are_divided() -> Result<()> {
    let mount = Mount::new("ext4")?;
    let wal = mount.dir("wal")?;
    let calls = scaled(500);
    let args = ["uring-latency", "--dir", &wal.display().to_string(), "--calls", &calls.to_string()].map(str::to_owned);
    let mut load = Load::start(&args)?;
    let trace = Trace::of(load.pid(), &wal, &[])?;
    load.run()?;
    let calls_of = trace.calls()?;
    let requests: Vec<_> = calls_of.into_iter().filter(|call| call.op.starts_with("io_uring_")).collect();
    ensure!(requests.len() as u64 == calls, "{} of {calls}", requests.len());
    ensure!(requests.iter().all(|call| call.parts() == call.total_ns && !call.undivided));
    ensure!(requests.iter().all(|call| call.path.is_some() && call.pid == load.pid()), "{:?}", requests.first());
    for phase in ["cpu", "flush", "journal", "device", "other"] {
        println!("{phase}: {} of {} ns", sum(&requests, phase), total(&requests));
        ensure!(sum(&requests, phase) != 0, "no {phase}");
    }
    ensure!(sum(&requests, "other") * 3 < total(&requests), "most is known");
    Ok(())
}
