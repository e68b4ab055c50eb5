//! The line of JSON that a tally is between processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stemedb_ebpf::ops::OPS;

use crate::errno::{errno_name, errno_number};
use crate::tally::{ClassTally, Tally};

/// A [`Tally`] as JSON, without classes that have no calls.
#[derive(Serialize, Deserialize)]
pub(crate) struct TallyLine {
    classes: BTreeMap<String, ClassLine>,
}

/// One class: counts by the operation's name, without those that are zero.
#[derive(Serialize, Deserialize)]
struct ClassLine {
    calls: BTreeMap<String, u64>,
    bytes: BTreeMap<String, u64>,
    /// By operation, then by the error's name.
    errors: BTreeMap<String, BTreeMap<String, u64>>,
    /// Pairs of a slot and its count.
    sync_slots: Vec<(usize, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sync_ns: Vec<u64>,
}

impl From<Tally> for TallyLine {
    fn from(tally: Tally) -> Self {
        let used = tally.classes.into_iter().filter(|class| class.calls.iter().any(|count| *count > 0));
        Self { classes: used.map(|class| (class.name.clone(), class.into())).collect() }
    }
}

impl TryFrom<TallyLine> for Tally {
    type Error = String;

    fn try_from(line: TallyLine) -> Result<Self, String> {
        let raw = line.classes.values().any(|class| !class.sync_ns.is_empty());
        let classes = line.classes.into_iter().map(|(name, class)| class.into_tally(&name, raw));
        Ok(Self { classes: classes.collect::<Result<_, _>>()?, raw })
    }
}

impl From<ClassTally> for ClassLine {
    fn from(class: ClassTally) -> Self {
        let mut errors: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for e in &class.errors {
            errors.entry(OPS[e.op].name.to_owned()).or_default().insert(errno_name(e.errno).into_owned(), e.count);
        }
        Self {
            calls: by_name(&class.calls),
            bytes: by_name(&class.bytes),
            errors,
            sync_slots: class.sync_slots.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect(),
            sync_ns: class.sync_ns,
        }
    }
}

impl ClassLine {
    fn into_tally(self, name: &str, raw: bool) -> Result<ClassTally, String> {
        let mut class = ClassTally::new(name, raw);
        from_names(&self.calls, &mut class.calls)?;
        from_names(&self.bytes, &mut class.bytes)?;
        for (op, errors) in &self.errors {
            for (errno, count) in errors {
                let errno = errno_number(errno).ok_or_else(|| format!("no such error: {errno}"))?;
                class.count_error(op_index(op)?, errno, *count);
            }
        }
        for (slot, count) in self.sync_slots {
            *class.sync_slots.get_mut(slot).ok_or_else(|| format!("no such slot: {slot}"))? = count;
        }
        class.sync_ns = self.sync_ns;
        Ok(class)
    }
}

fn by_name(counts: &[u64; OPS.len()]) -> BTreeMap<String, u64> {
    let named = OPS.iter().zip(counts);
    named.filter(|(_, count)| **count > 0).map(|(info, count)| (info.name.to_owned(), *count)).collect()
}

fn from_names(named: &BTreeMap<String, u64>, counts: &mut [u64; OPS.len()]) -> Result<(), String> {
    for (name, count) in named {
        counts[op_index(name)?] = *count;
    }
    Ok(())
}

fn op_index(name: &str) -> Result<usize, String> {
    OPS.iter().position(|info| info.name == name).ok_or_else(|| format!("no such operation: {name}"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use serde_json::json;
    use stemedb_ebpf::ops::Op;
    use stemedb_ebpf::slots::latency_slot;

    use super::*;

    fn sample() -> Tally {
        let mut tally = Tally::with_raw();
        let mut class = ClassTally::new("wal", true);
        class.record(Op::Write, &Ok(512), 5);
        class.record(Op::Write, &Err(io::Error::from_raw_os_error(libc::ENOSPC)), 5);
        class.record(Op::Fdatasync, &Ok(0), 70_000);
        class.record(Op::Fallocate, &Ok(0), 5);
        tally.classes.push(class);
        tally
    }

    #[test]
    fn a_tally_is_this_json() {
        let expected = json!({"classes": {"wal": {
            "calls": {"write": 2, "fdatasync": 1, "fallocate": 1},
            "bytes": {"write": 512},
            "errors": {"write": {"ENOSPC": 1}},
            "sync_slots": [[latency_slot(70_000), 1]],
            "sync_ns": [70_000],
        }}});
        assert_eq!(serde_json::to_value(sample()).unwrap(), expected);
    }

    #[test]
    fn json_leads_back_to_the_tally() {
        let line = serde_json::to_string(&sample()).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Tally>(&line).unwrap(), sample());
    }

    #[test]
    fn without_raw_there_are_no_latencies() {
        let mut tally = Tally::new();
        tally.add("wal", Op::Fsync, 3, 0);
        assert!(!serde_json::to_string(&tally).unwrap().contains("sync_ns"));
    }

    #[test]
    fn unknown_names_are_refused() {
        let line = r#"{"classes":{"wal":{"calls":{"chmod":1},"bytes":{},"errors":{},"sync_slots":[]}}}"#;
        assert!(serde_json::from_str::<Tally>(line).unwrap_err().to_string().contains("chmod"));
    }

    #[test]
    fn operations_have_the_names_that_the_agent_gives_them() {
        let names: Vec<_> = OPS.iter().map(|info| info.name).collect();
        let expected = "fsync fdatasync sync_file_range msync syncfs sync o_sync o_dsync io_uring_fsync io_uring_fdatasync \
                        io_uring_sync_file_range aio_fsync aio_fdsync write pwrite64 writev pwritev pwritev2 sendfile \
                        splice copy_file_range fallocate io_uring_write io_uring_writev io_uring_write_fixed \
                        io_uring_writev_fixed io_uring_fallocate io_uring_splice aio_pwrite aio_pwritev";
        assert_eq!(names.join(" "), expected);
    }
}
