//! The agent as a process: the figures behind `process_*`.

use procfs::process::{LimitValue, Process};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// User and system time.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// How many there may be.
    pub max_fds: u64,
    /// When it started, since the epoch.
    pub start_seconds: f64,
}

/// Reads them; all zero where /proc is not readable.
#[must_use]
pub fn figures() -> Figures {
    read().unwrap_or_default()
}

fn read() -> procfs::ProcResult<Figures> {
    let own = Process::myself()?;
    let stat = own.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let limit = match own.limits()?.max_open_files.soft_limit {
        LimitValue::Value(n) => n,
        LimitValue::Unlimited => u64::MAX,
    };
    Ok(Figures {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        resident_bytes: stat.rss * procfs::page_size(),
        virtual_bytes: stat.vsize,
        open_fds: own.fd_count()? as u64,
        max_fds: limit,
        start_seconds: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
    })
}

/// Bytes in a page of memory.
#[must_use]
pub fn page_size() -> u64 {
    procfs::page_size()
}

/// Processors that there may be, for each of which the kernel's per-processor maps have memory.
#[must_use]
pub fn possible_cpus() -> u32 {
    aya::util::nr_cpus().ok().and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

/// The release of the running kernel, as `uname -r` prints it.
#[must_use]
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The monotonic clock, as the kernel side reads it (`bpf_ktime_get_ns`), in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
