//! The first process: mounts, modules, the loopback interface; then the tests, and the machine's end.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::wait;
use stemedb_vm_init::Event;

/// The serial port for events; the kernel's own messages go to the first one, so that they never meet in a line.
const EVENTS: &str = "/dev/ttyS1";
/// Where `cargo xtask vm-test` has put the plan.
const PLAN: &str = "/stemedb/plan.json";
/// The kernel gives the first process none.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// File systems of the kernel, in order.
const MOUNTS: &[(&str, &str)] = &[
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/run"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tracefs", "/sys/kernel/tracing"),
    ("debugfs", "/sys/kernel/debug"),
    ("bpf", "/sys/fs/bpf"),
];

/// Those whose place there is only when their module is.
const LATE_MOUNTS: &[(&str, &str)] = &[("configfs", "/sys/kernel/config")];

/// Modules that `mount` and `losetup` would ask for; those of single tests are loaded by them.
const MODULES: &[&str] = &["configfs", "loop", "xfs", "btrfs", "overlay", "sd_mod", "dm_mod", "zram"];

/// Runs the plan and turns the machine off, whatever happens.
pub(crate) fn boot() -> Result<()> {
    if let Err(error) = prepare().and_then(|()| run_plan()) {
        eprintln!("stemedb-vm-init: {error:#}");
        tell(&Event::Broken { problem: format!("{error:#}") });
    }
    reboot(RebootMode::RB_POWER_OFF).context("cannot power off").map(|never| match never {})
}

fn prepare() -> Result<()> {
    mount_all(MOUNTS)?;
    run("modprobe", &[&["-a"], MODULES].concat())?;
    mount_all(LATE_MOUNTS)?;
    run("ip", &["link", "set", "lo", "up"])
}

fn mount_all(mounts: &[(&str, &str)]) -> Result<()> {
    for (kind, place) in mounts {
        fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
        match mount(Some(*kind), *place, Some(*kind), MsFlags::empty(), None::<&str>) {
            // The kernel itself has mounted /dev.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot mount {kind} at {place}")),
        }
    }
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let status = Command::new(program).args(args).env("PATH", PATH).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    anyhow::ensure!(status.success(), "{program} {}: {status}", args.join(" "));
    Ok(())
}

fn run_plan() -> Result<()> {
    let events = File::options().write(true).open(EVENTS).with_context(|| format!("cannot open {EVENTS}"))?;
    let mut runner = Command::new("/proc/self/exe");
    runner.args(["run", PLAN]).env_clear().env("PATH", PATH).env("HOME", "/root");
    // Its input ends with this process.
    let runner = runner.stdin(Stdio::piped()).stdout(events);
    let runner = runner.spawn().context("cannot start the tests")?;
    // The first process inherits what others leave behind; the tests' own children are waited for by the tests.
    while wait()?.pid().map(nix::unistd::Pid::as_raw) != i32::try_from(runner.id()).ok() {}
    Ok(())
}

fn tell(event: &Event) {
    if let Ok(line) = event.line() {
        // Where this fails too, the line on the console must do.
        let _ = fs::write(EVENTS, line + "\n");
    }
}
