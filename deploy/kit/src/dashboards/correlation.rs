//! Kernel and API Correlation, from top to bottom: is the API slow; is it the log; is it the disk, the journal, the scheduler, or none of them;
//! which file, which device.

use stemedb_probe::catalog::Id as Agent;

use super::model::Board;
use super::panel::{Shape, panel};
use super::{
    OF_AGENT, OF_DISK, OF_HOST, WINDOW, YES_OR_NO, fsync_latency, of_agents, of_nodes, or_none, quantile, rate,
    request_duration, requests, with,
};
use crate::alerts::thresholds::{FLUSH, FSYNC, REQUEST};
use crate::names::{agent, file};
use crate::slo::FSYNC_BOUND;

/// Colours of the phases: the disk is red, what waits before it orange, the journal yellow, the processor blue.
const PHASE_COLOURS: &[(&str, &str)] = &[
    ("^cpu$", "light-blue"),
    ("^runqueue$", "dark-blue"),
    ("^queue$", "orange"),
    ("^device$", "red"),
    ("^journal$", "yellow"),
    ("^flush$", "dark-red"),
    ("^other$", "#8e8e8e"),
];
/// Colours of the API and of the log.
const API_AND_LOG: &[(&str, &str)] = &[
    ("^API, p99", "purple"),
    ("^API writes, p99", "blue"),
    ("^API writes, p50", "light-blue"),
    ("^WAL.*p99", "red"),
    ("^WAL.*p50", "light-red"),
];
/// Requests that wait for the log.
const WRITES: &str = "method=~\"POST|PUT|DELETE\"";

pub(super) fn board() -> Board {
    let target = with(OF_AGENT, "");
    let classes = with(OF_AGENT, "class=~\"$class\"");
    let disks = with(OF_DISK, "");
    let of_target = with(OF_DISK, "target=~\"$target\", target!=\"\", class=~\"$class\"");
    let phases = agent(Agent::FsyncPhase);
    let disk = agent(Agent::DiskLatency);
    Board {
        uid: "stemedb-correlation",
        title: "StemeDB: Kernel and API",
        about: "From top to bottom: is the API slow; is it the write-ahead log; is it the disk, the journal, the scheduler, or none of them; which device, which files.",
        refresh: "10s",
        variables: [of_nodes(), of_agents(&["class", "device"])].concat(),
        rows: vec![
            ("Is the API slow, and is it the log?", vec![
                panel("API latency over the log's fsync", Shape::Lines, "s", "All requests, those that write (POST, PUT, DELETE), and the sync calls of the log below them, on one axis. Writes and fsyncs rise: the log. Only the API: the program. Only the fsync: few requests wait for it, so far.")
                    .ask(quantile(0.99, &request_duration(), &requests(""), ""), "API, p99")
                    .ask(quantile(0.99, &request_duration(), &requests(WRITES), ""), "API writes, p99")
                    .ask(quantile(0.5, &request_duration(), &requests(WRITES), ""), "API writes, p50")
                    .ask(quantile(0.99, &fsync_latency(), &target, ""), "WAL fsync, p99")
                    .ask(quantile(0.5, &fsync_latency(), &target, ""), "WAL fsync, p50")
                    .series(API_AND_LOG).coloured(&[(FSYNC, "orange"), (REQUEST, "red")]).wide(16).runbooks(&["HighAPILatency", "APISlowDiskFast", "DiskSlowAPIFast"]),
                panel("The longest fsync", Shape::Figure, "s", "Of the log, since the agent began.")
                    .ask(format!("max({}{target})", agent(Agent::FsyncLatencyMax)), "longest").coloured(&[(FSYNC, "orange"), (1.0, "red")]).wide(4),
                panel("Fsyncs of the log", Shape::Figure, "ops", "Sync calls of the log, a second.").ask(rate(&format!("{}_count", fsync_latency()), &target, "job"), "syncs").wide(4),
            ]),
            ("Where does the log's time go?", vec![
                panel("Time in fsync, by phase", Shape::Stacked, "s", "Seconds a second that threads spent in sync calls of the log, divided to the nanosecond: flush and device are the disk, journal the file system's commit, queue other I/O before it, cpu and runqueue the processor, other is not known.")
                    .ask(rate(&phases, &target, "phase"), "{{phase}}").series(PHASE_COLOURS).runbooks(&["WALFsyncBurnFast"]),
                panel("Shares of the phases", Shape::Pie, "s", "Over the time that is shown.")
                    .ask(format!("sum by (phase) (increase({phases}{target}[$__range]))"), "{{phase}}").series(PHASE_COLOURS).wide(12),
                panel("One fsync, on average", Shape::Stacked, "s", "The mean sync call of the log, divided: as high as the mean is long.")
                    .ask(
                        format!(
                            "{} / on () group_left () sum(rate({}_count{target}[{WINDOW}]))",
                            rate(&phases, &target, "phase"),
                            fsync_latency()
                        ),
                        "{{phase}}",
                    )
                    .series(PHASE_COLOURS),
                panel("From write to durable", Shape::Lines, "s", "From the first write that no sync has covered to the return of the one that does.")
                    .ask(quantile(0.5, &agent(Agent::FlushLatency), &target, ""), "p50")
                    .ask(quantile(0.99, &agent(Agent::FlushLatency), &target, ""), "p99"),
            ]),
            ("Is it the disk?", vec![
                panel("Queue and device (p99 of writes)", Shape::Lines, "s", "Requests that write, in the block layer and at the device. Queue high and device low: too much at once, or somebody else's.")
                    .ask(quantile(0.99, &disk, &with(OF_DISK, "op=\"write\""), "host, device, stage"), "{{host}} {{device}} {{stage}}"),
                panel("Cache flushes (p99)", Shape::Lines, "s", "Each fsync waits for one.")
                    .ask(quantile(0.99, &agent(Agent::DiskFlushLatency), &disks, "host, device"), "{{host}} {{device}}")
                    .coloured(&[(FLUSH, "orange")]).runbooks(&["DiskFlushSlow"]),
                panel("Whose I/O is it?", Shape::Stacked, "Bps", "Bytes written by target, class and way: `writeback` and `journal` come later than the call that caused them.")
                    .ask(rate(&agent(Agent::DiskBytes), &with(OF_DISK, "op=\"write\""), "target, class, origin"), "{{target}} {{class}} {{origin}}"),
                panel("Write amplification", Shape::Lines, "short", "Bytes that the disk wrote for each that the database wrote.")
                    .ask("stemedb:write_amplification:ratio5m{host=~\"$host\", target=~\"$target\", device=~\"$device\"}", "{{host}} {{target}} {{device}}"),
                panel("Requests", Shape::Lines, "iops", "Block requests of the target's files.")
                    .ask(rate(&agent(Agent::DiskIos), &of_target, "host, device, op"), "{{host}} {{device}} {{op}}"),
                panel("Errors", Shape::Lines, "short", "Failed block requests, writes and syncs, and errors of writing back, since the agent began: each step is a fault. Not as a rate: a counter that begins with one has none.")
                    .ask(
                        or_none(&format!("sum by (host, device, op, error) ({}{disks})", agent(Agent::DiskErrors)), "device", "no disk errors"),
                        "{{host}} {{device}} {{op}} {{error}}",
                    )
                    .ask(format!("sum by (host, op, error) ({}{target})", agent(Agent::WriteErrors)), "{{host}} wal {{op}} {{error}}")
                    .ask(
                        or_none(&format!("sum by (host, class, op, error) ({}{classes})", file(Agent::WriteErrors)), "class", "no errors of other files"),
                        "{{host}} {{class}} {{op}} {{error}}",
                    )
                    .ask(format!("sum by (host, class) ({}{target})", agent(Agent::WritebackErrors)), "{{host}} writeback {{class}}")
                    .coloured(&[(1.0, "red")]).runbooks(&["DiskErrors", "WritebackErrors", "WALFsyncFailure", "FileFsyncFailure"]),
            ]),
            ("Which files, which slow calls?", vec![
                panel("Fsync by class (p99)", Shape::Lines, "s", "The database's other files.")
                    .ask(quantile(0.99, &file(Agent::FsyncLatency), &classes, "class"), "{{class}}").wide(8),
                panel("Slow syncs", Shape::Lines, "short", "Sync calls that took longer than an eighth of a second, of the log and of the other files, each minute. A click on a line leads to the agent's list of the slowest, with their files, threads and phases: where your browser does not reach the agent, `curl` the same on its machine.")
                    .ask(slow(&fsync_latency(), &target, "instance"), "{{instance}} wal")
                    .ask(slow(&file(Agent::FsyncLatency), &classes, "instance, class"), "{{instance}} {{class}}")
                    .leads("The slowest calls", "http://${__field.labels.instance}/api/v1/slow").wide(8),
                panel("Bytes written by class", Shape::Stacked, "Bps", "Calls that write to the database's other files.")
                    .ask(rate(&file(Agent::BytesWritten), &classes, "class"), "{{class}}").wide(8),
            ]),
            ("Can I trust this?", vec![
                panel("Lost events", Shape::Lines, "short", "What is missing from the figures above, by reason.")
                    .ask(
                        or_none(&format!("sum by (reason) (increase({}{{{OF_HOST}}}[{WINDOW}])) > 0", agent(Agent::Lost)), "reason", "nothing lost"),
                        "{{reason}}",
                    )
                    .wide(8).runbooks(&["ProbeSamplesLost"]),
                panel("Agents", Shape::Timeline, "short", "Whether the agent of a machine answers: what it does not count is lost to all figures above.")
                    .ask(format!("max by (host) (up{{{OF_HOST}}})"), "{{host}}")
                    .coloured(&[(0.0, "red"), (1.0, "green")]).words(YES_OR_NO).wide(6).runbooks(&["ProbeDown", "ProbeMissing", "ProbeWatchesNothing"]),
                panel("What the agent sees", Shape::Table, "short", "Each capability, and the hook that gives it; no for what this kernel does not allow.")
                    .ask(format!("max by (host, capability, hook) ({}{{{OF_HOST}}})", agent(Agent::Capability)), "")
                    .words(YES_OR_NO).wide(10)
                    .runbooks(&["ProbeCapabilityDegraded"]),
            ]),
        ],
    }
}

/// Sync calls a minute that took longer than the objective of the log allows.
fn slow(latency: &str, selector: &str, by: &str) -> String {
    let bound = format!("le=\"{FSYNC_BOUND}\"");
    let fast = rate(&format!("{latency}_bucket"), &selector.replace('}', &format!(", {bound}}}")), by);
    format!("60 * ({} - {fast})", rate(&format!("{latency}_count"), selector, by))
}
