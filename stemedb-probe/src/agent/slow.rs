//! Slow calls: which are told, and the list of the slowest.

use stemedb_ebpf::Lost;
use stemedb_ebpf::slots::SLOTS;

use super::Agent;
use crate::config::Slow;
use crate::kernel::KernelError;
use crate::probes::ring::Ring;
use crate::probes::slow::{Threshold, Told, take_next};
use crate::probes::{add_slots, split_cell};
use crate::process::monotonic_ns;
use crate::slow::{Call, FIRST_NS, List};

/// Calls that are taken in one go: whoever asks for figures is not kept waiting.
pub(super) const BATCH: usize = 1_024;

/// See the module.
pub(super) struct SlowCalls {
    pub(super) threshold: Threshold,
    pub(super) list: List,
}

/// From where on calls are told at first.
pub(super) fn first(slow: Slow) -> u64 {
    match slow {
        Slow::Slowest => FIRST_NS,
        Slow::From(ns) => ns,
    }
}

impl Agent {
    /// Takes in slow calls that are there; whether there may be more.
    pub(super) fn drain_slow(&mut self, ring: &mut Ring) -> bool {
        for _ in 0..BATCH {
            let Some(told) = take_next(ring) else { return false };
            // It may have been told before the threshold rose.
            if told.call.total_ns >= self.slow.threshold.ns() {
                let call = self.named(told);
                self.slow.list.add(call);
                let threshold = self.slow.list.threshold(self.slow.threshold.ns());
                self.set_threshold(threshold);
            }
        }
        true
    }

    /// A slow call for people.
    pub(crate) fn named(&mut self, told: Told) -> Call {
        let (target, class) = split_cell(told.call.cell, u32::try_from(self.classes.len()).unwrap_or(u32::MAX));
        let dev = told.call.dev;
        self.name_devices((dev != 0).then_some(dev).into_iter());
        let target = self.config.targets.get(target as usize).map(|target| target.name.clone());
        let class = self.classes.get(class as usize).cloned();
        let device = self.devices.get(&dev).map(|device| device.name.clone());
        Call::new(told, target.unwrap_or_default(), class.unwrap_or_default(), device.unwrap_or_default())
    }

    /// The slowest calls of the last hour, and from how many nanoseconds on a call would be one of them.
    #[must_use]
    pub fn slowest(&self) -> (&[Call], u64) {
        (self.slow.list.calls(), self.slow.threshold.ns())
    }

    /// Looks anew how slow a call must be.
    pub(super) fn look_for_slow(&mut self) {
        if self.config.slow != Slow::Slowest {
            return;
        }
        let mut latencies = vec![0; SLOTS];
        // Targets without a process so far have no calls: each would be some ten look-ups in vain.
        let seen = self.targets.seen();
        match self.readers.syncs.read_of(|target| seen.get(target).is_none_or(|processes| *processes != 0)) {
            Ok(series) => series.iter().for_each(|one| add_slots(&mut latencies, &one.slots)),
            Err(error) => log::error!("cannot read the latencies of sync calls: {error}"),
        }
        let threshold = self.slow.list.look(&latencies, self.slow.threshold.ns(), monotonic_ns());
        self.set_threshold(threshold);
    }

    /// How often something was lost for a reason.
    pub fn lost(&self, reason: Lost) -> Result<u64, KernelError> {
        Ok(self.readers.lost.read()?[reason as usize])
    }

    /// All sync calls so far, slow or not.
    pub fn sync_calls(&self) -> Result<u64, KernelError> {
        Ok(self.readers.syncs.read()?.iter().map(|series| series.calls).sum())
    }

    fn set_threshold(&mut self, ns: u64) {
        if let Err(error) = self.slow.threshold.set(ns) {
            log::error!("cannot tell the kernel side which calls are slow: {error}");
        }
    }
}
