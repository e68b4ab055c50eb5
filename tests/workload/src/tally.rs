//! What calls were made, by class of directory.

use std::io;

use serde::{Deserialize, Serialize};
use stemedb_ebpf::ops::{Family, OPS, Op};
use stemedb_ebpf::slots::{SLOTS, latency_slot};

use crate::counted::Counted;
use crate::wire::TallyLine;

/// Kinds of errors for which there is room without another allocation.
const ERROR_ROOM: usize = 32;

/// Calls by class, each under the class of the file that it acts on. Serialises to one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "TallyLine", try_from = "TallyLine")]
pub struct Tally {
    pub(crate) classes: Vec<ClassTally>,
    pub(crate) raw: bool,
}

/// Failed calls of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorCount {
    pub(crate) op: usize,
    pub(crate) errno: i32,
    pub(crate) count: u64,
}

/// Calls of one class; arrays are indexed by operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassTally {
    pub(crate) name: String,
    pub(crate) calls: [u64; OPS.len()],
    pub(crate) bytes: [u64; OPS.len()],
    pub(crate) errors: Vec<ErrorCount>,
    pub(crate) sync_slots: Box<[u64; SLOTS]>,
    pub(crate) sync_ns: Vec<u64>,
    pub(crate) raw: bool,
}

impl Tally {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Tally::new`], and keeps the latency of each sync besides the histogram.
    #[must_use]
    pub fn with_raw() -> Self {
        Self { raw: true, ..Self::default() }
    }

    /// The calls for one class: what is called on the result is counted here.
    pub fn on(&mut self, class: &str) -> Counted<'_> {
        Counted::new(self.class_mut(class))
    }

    /// Makes room, so that `calls` calls for this class cost no allocation.
    pub fn reserve(&mut self, class: &str, calls: usize) {
        let raw = self.raw;
        let class = self.class_mut(class);
        if raw {
            class.sync_ns.reserve(calls);
        }
    }

    /// Counts calls that another process made, of which only the number and the bytes are known.
    pub fn add(&mut self, class: &str, op: Op, calls: u64, bytes: u64) {
        let class = self.class_mut(class);
        class.calls[op as usize] += calls;
        class.bytes[op as usize] += bytes;
    }

    /// Adds the calls of another tally.
    pub fn merge(&mut self, other: &Self) {
        self.raw |= other.raw;
        for class in &other.classes {
            self.class_mut(&class.name).merge(class);
        }
    }

    /// The names of the classes, in the order of their first calls.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.name.as_str())
    }

    /// Calls of one operation, failed ones too.
    #[must_use]
    pub fn calls(&self, class: &str, op: Op) -> u64 {
        self.class(class).map_or(0, |found| found.calls[op as usize])
    }

    /// Bytes that calls of one operation have written.
    #[must_use]
    pub fn bytes(&self, class: &str, op: Op) -> u64 {
        self.class(class).map_or(0, |found| found.bytes[op as usize])
    }

    /// Calls of one operation that failed with this error number.
    #[must_use]
    pub fn errors(&self, class: &str, op: Op, errno: i32) -> u64 {
        let Some(class) = self.class(class) else { return 0 };
        class.errors.iter().filter(|e| e.op == op as usize && e.errno == errno).map(|e| e.count).sum()
    }

    /// Latencies of all the syncs of a class, failed ones too, by [`latency_slot`].
    #[must_use]
    pub fn sync_slots(&self, class: &str) -> [u64; SLOTS] {
        self.class(class).map_or([0; SLOTS], |found| *found.sync_slots)
    }

    /// Latencies of all the syncs of a class in nanoseconds; empty unless made by [`Tally::with_raw`].
    #[must_use]
    pub fn sync_ns(&self, class: &str) -> &[u64] {
        self.class(class).map_or(&[], |found| &found.sync_ns)
    }

    /// All the calls of all classes.
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        self.classes.iter().flat_map(|class| &class.calls).sum()
    }

    fn class(&self, name: &str) -> Option<&ClassTally> {
        self.classes.iter().find(|class| class.name == name)
    }

    fn class_mut(&mut self, name: &str) -> &mut ClassTally {
        let at = self.classes.iter().position(|class| class.name == name).unwrap_or_else(|| {
            self.classes.push(ClassTally::new(name, self.raw));
            self.classes.len() - 1
        });
        &mut self.classes[at]
    }
}

impl ClassTally {
    pub(crate) fn new(name: &str, raw: bool) -> Self {
        Self {
            name: name.to_owned(),
            calls: [0; OPS.len()],
            bytes: [0; OPS.len()],
            errors: Vec::with_capacity(ERROR_ROOM),
            sync_slots: Box::new([0; SLOTS]),
            sync_ns: Vec::new(),
            raw,
        }
    }

    /// Counts one call: its result and how long it took.
    pub(crate) fn record(&mut self, op: Op, result: &io::Result<usize>, ns: u64) {
        let info = &OPS[op as usize];
        self.calls[op as usize] += 1;
        match result {
            Ok(bytes) if info.family == Family::Write => self.bytes[op as usize] += *bytes as u64,
            Ok(_) => {}
            Err(error) => self.count_error(op as usize, error.raw_os_error().unwrap_or(0), 1),
        }
        if info.family == Family::Sync {
            self.record_latency(ns);
        }
    }

    pub(crate) fn count_error(&mut self, op: usize, errno: i32, count: u64) {
        match self.errors.iter_mut().find(|e| e.op == op && e.errno == errno) {
            Some(found) => found.count += count,
            None => self.errors.push(ErrorCount { op, errno, count }),
        }
    }

    fn record_latency(&mut self, ns: u64) {
        self.sync_slots[latency_slot(ns)] += 1;
        if self.raw {
            self.sync_ns.push(ns);
        }
    }

    fn merge(&mut self, other: &Self) {
        add_all(&mut self.calls, &other.calls);
        add_all(&mut self.bytes, &other.bytes);
        add_all(&mut self.sync_slots[..], &other.sync_slots[..]);
        for e in &other.errors {
            self.count_error(e.op, e.errno, e.count);
        }
        self.sync_ns.extend_from_slice(&other.sync_ns);
    }
}

fn add_all(to: &mut [u64], from: &[u64]) {
    for (sum, n) in to.iter_mut().zip(from) {
        *sum += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(errno: i32) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn failed_calls_count_as_calls_with_no_bytes() {
        let mut tally = Tally::new();
        let class = tally.class_mut("wal");
        class.record(Op::Write, &Ok(512), 1000);
        class.record(Op::Write, &failure(libc::ENOSPC), 1000);
        assert_eq!(tally.calls("wal", Op::Write), 2);
        assert_eq!(tally.bytes("wal", Op::Write), 512);
        assert_eq!(tally.errors("wal", Op::Write, libc::ENOSPC), 1);
        assert_eq!(tally.errors("wal", Op::Fsync, libc::ENOSPC), 0);
        assert_eq!(tally.calls("store", Op::Write), 0);
    }

    #[test]
    fn only_syncs_have_latencies() {
        let mut tally = Tally::with_raw();
        let class = tally.class_mut("wal");
        class.record(Op::Write, &Ok(1), 10);
        class.record(Op::Fsync, &Ok(0), 2_000_000);
        class.record(Op::Msync, &failure(libc::EIO), 3_000_000);
        assert_eq!(tally.sync_ns("wal"), [2_000_000, 3_000_000]);
        let slots = tally.sync_slots("wal");
        assert_eq!(slots.iter().sum::<u64>(), 2);
        assert_eq!(slots[latency_slot(2_000_000)], 1);
    }

    #[test]
    fn merge_adds_each_class_to_its_own() {
        let (mut a, mut b) = (Tally::with_raw(), Tally::with_raw());
        a.class_mut("wal").record(Op::Fdatasync, &Ok(0), 5000);
        b.class_mut("wal").record(Op::Fdatasync, &failure(libc::EBADF), 6000);
        b.class_mut("store").record(Op::Pwrite, &Ok(4096), 10);
        a.merge(&b);
        assert_eq!(a.calls("wal", Op::Fdatasync), 2);
        assert_eq!(a.errors("wal", Op::Fdatasync, libc::EBADF), 1);
        assert_eq!(a.sync_ns("wal"), [5000, 6000]);
        assert_eq!(a.sync_slots("wal").iter().sum::<u64>(), 2);
        assert_eq!(a.bytes("store", Op::Pwrite), 4096);
        assert_eq!(a.total_calls(), 3);
        assert_eq!(a.classes().collect::<Vec<_>>(), ["wal", "store"]);
    }
}
