//! What the scheduler says of one thread.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use stemedb_workload::sys;

/// The figures of the thread that has made this.
pub(crate) struct Scheduling {
    schedstat: File,
}

/// At one moment, since the thread's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// How often it lost the processor although it could go on.
    preemptions: u64,
    /// Nanoseconds that it waited for a processor.
    waited_ns: u64,
}

impl Scheduling {
    /// Of the calling thread.
    pub(crate) fn of_this_thread() -> Result<Self> {
        let path = "/proc/thread-self/schedstat";
        Ok(Self { schedstat: File::open(path).with_context(|| format!("{path}: a kernel with CONFIG_SCHED_INFO?"))? })
    }

    /// The figures now.
    pub(crate) fn now(&self) -> Result<Moment> {
        let mut text = [0; 96];
        let length = self.schedstat.read_at(&mut text, 0)?;
        Ok(Moment { preemptions: sys::preemptions()?, waited_ns: waited(&text[..length])? })
    }
}

impl Moment {
    /// The time, in nanoseconds, that a preemption since then may have taken: none without a preemption.
    pub(crate) fn preempted_ns_until(self, later: Self) -> u64 {
        if later.preemptions == self.preemptions { 0 } else { later.waited_ns - self.waited_ns }
    }
}

/// The second of the three figures in the kernel's documentation of `/proc/<pid>/schedstat`
/// (Documentation/scheduler/sched-stats.rst).
fn waited(text: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(text)?;
    let figure = text.split_ascii_whitespace().nth(1).with_context(|| format!("no second figure in {text:?}"))?;
    Ok(figure.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_preemption_takes_time() {
        let before = Moment { preemptions: 3, waited_ns: 100 };
        assert_eq!(before.preempted_ns_until(Moment { preemptions: 3, waited_ns: 900 }), 0);
        assert_eq!(before.preempted_ns_until(Moment { preemptions: 4, waited_ns: 900 }), 800);
    }

    #[test]
    fn the_figures_of_this_thread_are_there_and_grow() {
        let scheduling = Scheduling::of_this_thread().unwrap();
        let first = scheduling.now().unwrap();
        let second = scheduling.now().unwrap();
        assert!(second.waited_ns >= first.waited_ns && second.preemptions >= first.preemptions);
        assert_eq!(waited(b"12 345 6\n").unwrap(), 345);
    }
}
