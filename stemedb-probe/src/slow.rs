//! Slow calls for people and dashboards, and the list of the slowest of the last hour.

use std::time::Duration;

use serde::{Serialize, Serializer};
use stemedb_ebpf::phases::{NO_PATH, PHASES, Parts, UNDIVIDED, UNLINKED};
use stemedb_ebpf::slots::{BOUNDS_NS, SLOTS};

use crate::export::families::op_name;
use crate::probes::slow::Told;
use crate::process::monotonic_ns;

/// Calls in the list.
pub const CAPACITY: usize = 128;
/// How long a call is in the list.
pub const KEPT: Duration = Duration::from_hours(1);
/// Where the list begins, before it is known how slow the slowest are.
pub const FIRST_NS: u64 = 1_000_000;
/// More calls than this are not told between two looks: the list would not be worth what they cost.
const MOST_BETWEEN_LOOKS: u64 = 10_000;

/// A slow call. Every figure is exact.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// When it ended, in UTC (RFC 3339).
    pub time: String,
    /// Name of the target.
    pub target: String,
    /// Its process.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
    /// Name of the thread; of the process for what another thread has ended.
    pub comm: String,
    /// The operation.
    pub op: &'static str,
    /// Class of the file.
    pub class: String,
    /// Path of the file as the process sees it; `None` for a call without a file, one that was closed during the call, and paths
    /// that are too long.
    pub path: Option<String>,
    /// Whether the file had no name any more: the path is that of its last one.
    pub unlinked: bool,
    /// Inode number of the file, 0 without one.
    pub inode: u64,
    /// Device of the file system; empty without a file.
    pub device: String,
    /// Writes that it made durable.
    pub writes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Name of the errno, where it failed.
    pub error: Option<String>,
    /// How long it took.
    pub total_ns: u64,
    /// On what: together exactly `total_ns`.
    #[serde(rename = "phases_ns", serialize_with = "by_name")]
    pub parts: Parts,
    /// Whether it is not known on what, and all is in `other`.
    pub undivided: bool,
    /// When it ended, on the monotonic clock.
    #[serde(skip)]
    pub end_ns: u64,
}

impl Call {
    /// Puts names to what the kernel told.
    #[must_use]
    pub fn new(told: Told, target: String, class: String, device: String) -> Self {
        let Told { call, path } = told;
        let (pid, tid) = ((call.thread >> 32) as u32, (call.thread & 0xffff_ffff) as u32);
        let path = (call.flags & NO_PATH == 0).then(|| match path.as_slice() {
            [] => "/".to_owned(),
            path => String::from_utf8_lossy(path).into_owned(),
        });
        Self {
            time: wall_clock(call.end_ns),
            target,
            pid,
            tid,
            comm: comm(&call.comm).unwrap_or_else(|| of_process(pid)),
            op: op_name(call.op),
            class,
            path,
            unlinked: call.flags & UNLINKED != 0,
            inode: call.ino,
            device,
            writes: call.writes,
            bytes: call.bytes,
            error: (call.errno != 0)
                .then(|| crate::probes::errors::name(u16::try_from(call.errno).unwrap_or(u16::MAX))),
            total_ns: call.total_ns,
            parts: call.parts,
            undivided: call.flags & UNDIVIDED != 0,
            end_ns: call.end_ns,
        }
    }
}

/// Time by the names of the phases.
fn by_name<S: Serializer>(parts: &Parts, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(PHASES.iter().zip(parts))
}

fn comm(bytes: &[u8]) -> Option<String> {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (len != 0).then(|| String::from_utf8_lossy(&bytes[..len]).into_owned())
}

fn of_process(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).map(|text| text.trim_end().to_owned()).unwrap_or_default()
}

/// A moment of the monotonic clock as the wall clock has it.
fn wall_clock(ns: u64) -> String {
    let ago = Duration::from_nanos(monotonic_ns().saturating_sub(ns));
    let then = jiff::Timestamp::now() - jiff::SignedDuration::try_from(ago).unwrap_or_default();
    format!("{then:.6}")
}

/// The slowest calls of the last hour.
#[derive(Debug, Default)]
pub struct List {
    /// The slowest first.
    calls: Vec<Call>,
    /// The latencies of all sync calls at the last look.
    seen: Vec<u64>,
}

impl List {
    /// Takes a call in, if it is one of the slowest.
    pub fn add(&mut self, call: Call) {
        self.forget_old(call.end_ns);
        let at = self.calls.partition_point(|other| other.total_ns >= call.total_ns);
        self.calls.insert(at, call);
        self.calls.truncate(CAPACITY);
    }

    /// The calls, the slowest first.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    fn forget_old(&mut self, now: u64) {
        let kept = u64::try_from(KEPT.as_nanos()).unwrap_or(u64::MAX);
        self.calls.retain(|call| now.saturating_sub(call.end_ns) <= kept);
    }

    /// From how many nanoseconds on a call would be among the slowest, while they come in.
    #[must_use]
    pub fn threshold(&self, before: u64) -> u64 {
        match self.calls.last() {
            Some(last) if self.calls.len() == CAPACITY => last.total_ns + 1,
            _ => before,
        }
    }

    /// The same at a look at the latencies of all sync calls so far: where the list has room, so low that as many calls as it has room
    /// for would have been told since the last look, but not thousands.
    #[must_use]
    pub fn look(&mut self, latencies: &[u64], before: u64, now: u64) -> u64 {
        self.forget_old(now);
        let since: Vec<u64> = match self.seen.len() {
            0 => latencies.to_vec(),
            _ => latencies.iter().zip(&self.seen).map(|(all, seen)| all.saturating_sub(*seen)).collect(),
        };
        self.seen = latencies.to_vec();
        let room = CAPACITY - self.calls.len();
        if room == 0 {
            return self.threshold(before);
        }
        let mut count = 0;
        let mut from = before.min(FIRST_NS);
        for slot in (1..SLOTS).rev() {
            count += since[slot];
            if count > MOST_BETWEEN_LOOKS {
                break;
            }
            from = from.min(BOUNDS_NS[slot - 1] + 1);
            if count >= room as u64 {
                break;
            }
        }
        if count == 0 { before } else { from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stemedb_ebpf::phases::SlowCall;

    fn call(total_ns: u64, end_ns: u64) -> Call {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"test");
        let call = SlowCall { total_ns, end_ns, comm, ..SlowCall::default() };
        Call::new(Told { call, path: b"/wal".to_vec() }, "t".to_owned(), "wal".to_owned(), String::new())
    }

    #[test]
    fn the_list_keeps_the_slowest_of_an_hour() {
        let mut list = List::default();
        for n in 0..1_000 {
            list.add(call(n * 7 % 1_000, n));
        }
        let kept: Vec<u64> = list.calls().iter().map(|call| call.total_ns).collect();
        assert_eq!(kept, (872..1_000).rev().collect::<Vec<_>>());
        assert_eq!(list.threshold(5), 873);
        list.add(call(1, 3_600_000_000_000 + 2_000));
        assert_eq!(list.calls().len(), 1);
        assert_eq!(list.threshold(5), 5);
    }

    #[test]
    fn a_list_with_room_asks_for_as_many_as_it_has_room_for() {
        let mut list = List::default();
        let mut latencies = vec![0; SLOTS];
        assert_eq!(list.look(&latencies, FIRST_NS, 0), FIRST_NS);
        latencies[50] = 1_000_000;
        latencies[60] = 100;
        latencies[70] = 10;
        // A million calls of one slot are not told; those above them are.
        assert_eq!(list.look(&latencies, FIRST_NS, 0), BOUNDS_NS[50] + 1);
        latencies[60] += 200;
        assert_eq!(list.look(&latencies, FIRST_NS, 0), BOUNDS_NS[59] + 1);
    }

    #[test]
    fn a_call_is_named() {
        let call = call(3, 4);
        assert_eq!((call.comm.as_str(), call.path.as_deref(), call.device.as_str()), ("test", Some("/wal"), ""));
        let json = serde_json::to_value(&call).unwrap();
        assert_eq!((&json["total_ns"], &json["phases_ns"]["cpu"]), (&3.into(), &0.into()));
    }
}
