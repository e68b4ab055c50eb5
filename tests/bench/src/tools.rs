//! Other tools that do part of the agent's job, as their users run them.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stemedb_kernel_tests::wait_for;

use crate::meter::{self, Programs};

/// A tool and what it does.
pub(crate) struct Tool {
    /// What it does, for people.
    pub(crate) name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// Programs that it has in the kernel, once it is ready.
    programs: usize,
}

/// fsync and fdatasync by their system calls, as a histogram.
const FSYNC_SYSCALL: &str = "
    tracepoint:syscalls:sys_enter_fsync, tracepoint:syscalls:sys_enter_fdatasync { @start[tid] = nsecs; }
    tracepoint:syscalls:sys_exit_fsync, tracepoint:syscalls:sys_exit_fdatasync /@start[tid]/ {
        @us[comm] = hist((nsecs - @start[tid]) / 1000); delete(@start[tid]);
    }";
/// The same by the tracepoints of ext4.
const FSYNC_EXT4: &str = "
    tracepoint:ext4:ext4_sync_file_enter { @start[tid] = nsecs; }
    tracepoint:ext4:ext4_sync_file_exit /@start[tid]/ {
        @us[comm] = hist((nsecs - @start[tid]) / 1000); delete(@start[tid]);
    }";
/// Latency and bytes of writes by process.
const WRITES: &str = "
    tracepoint:syscalls:sys_enter_write, tracepoint:syscalls:sys_enter_pwrite64 { @start[tid] = nsecs; }
    tracepoint:syscalls:sys_exit_write, tracepoint:syscalls:sys_exit_pwrite64 /@start[tid]/ {
        @us[comm] = hist((nsecs - @start[tid]) / 1000); @bytes[comm] = sum(args->ret); delete(@start[tid]);
    }";

/// Names of tools that the agent is compared with by a goal.
pub(crate) const FSYNC_BY_SYSCALL: &str = "bpftrace, fsync by system call";
/// See [`FSYNC_BY_SYSCALL`].
pub(crate) const WRITES_BY_PROCESS: &str = "bpftrace, writes by process";
/// See [`FSYNC_BY_SYSCALL`].
pub(crate) const BIOLATENCY: &str = "biolatency of libbpf-tools";

/// Every tool. One that is not installed is left out, and the page says so.
pub(crate) const TOOLS: &[Tool] = &[
    Tool { name: FSYNC_BY_SYSCALL, program: "bpftrace", arguments: &["-e", FSYNC_SYSCALL], programs: 4 },
    Tool { name: "bpftrace, fsync by ext4", program: "bpftrace", arguments: &["-e", FSYNC_EXT4], programs: 2 },
    Tool { name: WRITES_BY_PROCESS, program: "bpftrace", arguments: &["-e", WRITES], programs: 4 },
    Tool { name: BIOLATENCY, program: "biolatency", arguments: &["3600"], programs: 2 },
    Tool { name: "Rezolus", program: "rezolus", arguments: &[], programs: 8 },
];

impl Tool {
    /// Whether it can be run here.
    pub(crate) fn is_installed(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let sbin = ["/usr/sbin", "/sbin"].map(Into::into);
        std::env::split_paths(&path).chain(sbin).any(|folder| folder.join(self.program).is_file())
    }

    /// Starts it, and waits until its programs are attached.
    pub(crate) fn start(&'static self, others: &Programs, log: &File) -> Result<Running> {
        let mut command = Command::new(self.program);
        command.args(self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program))?;
        let mut running = Running(child);
        wait_for(self.name, Duration::from_secs(30), || {
            if !matches!(running.0.try_wait(), Ok(None)) {
                return Some(false);
            }
            let new = meter::programs().keys().filter(|id| !others.contains_key(id)).count();
            (new >= self.programs).then_some(true)
        })
        .and_then(|runs| if runs { Ok(()) } else { bail!("{} ended at once", self.name) })?;
        // The last one is loaded, and about to be attached.
        sleep(Duration::from_millis(500));
        Ok(running)
    }
}

/// A tool that runs, and ends when this is dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let signal = |signal| {
            // SAFETY: the child has not been waited for, so its id is its own.
            unsafe { libc::kill(self.0.id().cast_signed(), signal) }
        };
        signal(libc::SIGINT);
        let child = &mut self.0;
        if wait_for("its end", Duration::from_secs(5), || child.try_wait().ok().flatten()).is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
