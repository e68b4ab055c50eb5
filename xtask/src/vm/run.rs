//! Runs a plan in a guest or on the host, follows what it tells, and ends what does not end by itself.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use stemedb_vm_init::{Event, Plan};

use super::column::Column;
use crate::{build, process, shell};

/// Beyond the limit of one test nothing comes from a machine only when it hangs.
const SILENCE: Duration = Duration::from_secs(30);
/// Lines of the console that are shown when the guest did not come to an end.
const LAST_LINES: usize = 40;
/// What the kernel says when something is wrong with it, also where all tests pass.
const COMPLAINTS: &[&str] = &["BUG:", "WARNING:", "Oops", "Call Trace:", "Kernel panic", "blocked for more than"];

/// What guests are booted with.
///
/// `tsc=reliable`: a processor in software does not say that its counter runs at one rate, so that Linux would take the time from
/// the HPET, and each look at the clock would leave the processor.
/// `no5lvl`: a look-up in page tables costs one step less.
const BOOT: &str = "root=/dev/nvme0n1 rw console=ttyS0 panic=-1 oops=panic mitigations=off tsc=reliable no5lvl \
                    init=/stemedb/stemedb-vm-init";

/// What time passes by in a guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// As here, with two processors.
    Wall,
    /// One nanosecond with each instruction of its one processor, so that what takes the same way takes the same time.
    Instructions,
}

/// The guest: processors in software, because nested virtualisation is not to be relied on.
fn qemu(kernel: &Path, image: &Path, console: &Path, clock: Clock) -> Command {
    // A guest must not outlive this program, however that ends.
    let mut command = shell::command("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    // One thread of the emulator for both processors: with a thread for each, one of them now and then runs what it translated
    // before the other patched that code of the kernel (a jump label, the entry of a function), and the guest dies of it.
    command.args(["-accel", "tcg,thread=single", "-cpu", "max", "-m", "2G"]);
    command.args(match clock {
        Clock::Wall => &["-smp", "2"][..],
        Clock::Instructions => &["-smp", "1", "-icount", "shift=0"],
    });
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(kernel);
    command.args(["-append", BOOT]);
    // A lost image is made anew, so its writes need not reach the host's disk.
    command.arg("-drive").arg(format!("if=none,id=root,format=raw,cache=unsafe,file={}", image.display()));
    command.args(["-device", "nvme,serial=root,drive=root"]);
    command.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
    command
}

/// Boots a kernel and follows the plan in it.
pub(crate) fn guest(
    column: &mut Column,
    plan: &Plan,
    image: &Path,
    kernel: &Path,
    limit: Duration,
    clock: Clock,
) -> Result<()> {
    let console = image.with_file_name("console.log");
    let mut child = start(qemu(kernel, image, &console, clock))?;
    let ended = follow(&mut child, column, plan, limit);
    let said = fs::read(&console).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    column.complaints = complaints(&said);
    if let Err(error) = ended {
        println!("the last lines of {}:", console.display());
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].iter().for_each(|line| println!("    {line}"));
        column.fail(plan, &format!("{error:#}"));
    }
    Ok(())
}

/// Follows the plan on the kernel that runs here.
pub(crate) fn host(column: &mut Column, plan: &Plan, folder: &Path, limit: Duration) -> Result<()> {
    let file = folder.join("plan.json");
    fs::write(&file, serde_json::to_string(plan)?)?;
    let mut command = shell::privileged(shell::root().join(build::VM_INIT))?;
    command.arg("run").arg(file).stderr(Stdio::inherit());
    let mut child = start(command)?;
    if let Err(error) = follow(&mut child, column, plan, limit) {
        column.fail(plan, &format!("{error:#}"));
    }
    Ok(())
}

/// What is followed; ended when this is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

fn start(mut command: Command) -> Result<Running> {
    // Ctrl-C reaches this program alone, which ends the other in order.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().context("cannot start what runs the tests")?;
    let output = child.stdout.take().context("no pipe")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        // A serial console may say anything, also what is no UTF-8.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    Ok(Running { child, lines })
}

impl Drop for Running {
    fn drop(&mut self) {
        // The end of its input tells the runner to end its test; a guest has to be killed.
        drop(self.child.stdin.take());
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads events up to the last one, or to what makes waiting for it pointless.
fn follow(running: &mut Running, column: &mut Column, plan: &Plan, limit: Duration) -> Result<()> {
    let begin = Instant::now();
    let mut heard = begin;
    loop {
        if process::stopped() {
            bail!("interrupted");
        }
        if begin.elapsed() > limit {
            bail!("not done after {} s, the limit for a kernel", limit.as_secs());
        }
        if heard.elapsed() > plan.limit + SILENCE {
            bail!("nothing was heard for {} s: it hangs", heard.elapsed().as_secs());
        }
        let line = match running.lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => bail!("it ended before its tests did: a panic, or it was killed"),
        };
        heard = Instant::now();
        match Event::parse(&line) {
            None => println!("    {}", line.trim_end()),
            Some(event) => match event.with_context(|| format!("not an event: {line}"))? {
                Event::Done => return Ok(()),
                Event::Broken { problem } => bail!("it cannot run the tests: {problem}"),
                event => column.take(plan, event, begin.elapsed()),
            },
        }
    }
}

/// Lines of the kernel's that tell of a fault in it.
fn complaints(console: &str) -> Vec<String> {
    let bad = |line: &&str| COMPLAINTS.iter().any(|words| line.contains(words));
    console.lines().filter(bad).map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_the_kernels_own() {
        let console = "[ 1.0] fine\r\n[ 2.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1\r\n[ 3.0] BUG: scheduling\r\n";
        assert_eq!(complaints(console), ["[ 2.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1", "[ 3.0] BUG: scheduling"]);
    }
}
