//! Storage Health: the log and the engines.

use stemedb_metrics::catalog::Id as Node;
use stemedb_probe::catalog::Id as Agent;

use super::model::Board;
use super::panel::{Shape, panel};
use super::{OF_AGENT, OF_NODE, fsync_latency, of_agents, of_nodes, quantile, quantiles, rate, with};
use crate::alerts::thresholds::{BACKLOG, DISK_MUCH, FSYNC, LOOKUP, NEARLY_FULL, SEGMENTS};
use crate::names::{agent, node, of_syncs};

pub(super) fn board() -> Board {
    let (target, nodes) = (with(OF_AGENT, ""), with(OF_NODE, ""));
    let full = format!("1 - {}{target} / {}{target}", agent(Agent::FilesystemAvailable), agent(Agent::FilesystemSize));
    let syncs = of_syncs();
    let errors = agent(Agent::WriteErrors);
    Board {
        uid: "stemedb-storage",
        title: "StemeDB: Storage Health",
        about: "Is the write-ahead log fast, does it have room, does anything fail; how fast are the engines below it.",
        refresh: "30s",
        variables: [of_nodes(), of_agents(&[])].concat(),
        rows: vec![
            ("Write-ahead log", vec![
                quantiles(
                    panel("WAL fsync latency", Shape::Lines, "s", "Time of the log's sync calls, as the kernel saw it. Every write waits for one."),
                    &fsync_latency(), &target,
                ).coloured(&[(FSYNC, "orange")]).runbooks(&["WALFsyncSlow"]),
                panel("WAL disk", Shape::Gauge, "percentunit", "How full the fullest file system of a log is.")
                    .ask(format!("max({full})"), "in use")
                    .coloured(&[(DISK_MUCH, "orange"), (NEARLY_FULL, "red")]).wide(4).runbooks(&["WALDiskNearlyFull", "WALDiskUsageHigh"]),
                panel("WAL segments", Shape::Figure, "short", "Files of the log.")
                    .ask(format!("max({}{target})", agent(Agent::Segments)), "segments")
                    .coloured(&[(SEGMENTS, "orange")]).wide(4).runbooks(&["WALSegmentCountHigh"]),
                panel("WAL size", Shape::Figure, "bytes", "What the log's files take on the disk.")
                    .ask(format!("sum({}{target})", agent(Agent::DiskUsage)), "size").wide(4),
                panel("WAL writes", Shape::Lines, "ops", "Calls that write to the log, and those that make it durable: one for many is group commit.")
                    .ask(rate(&agent(Agent::Writes), &target, "target"), "writes {{target}}")
                    .ask(rate(&format!("{}_count", fsync_latency()), &target, "target"), "syncs {{target}}"),
                panel("WAL bytes written", Shape::Lines, "Bps", "What the log's writes took.")
                    .ask(rate(&agent(Agent::BytesWritten), &target, "target"), "{{target}}"),
                panel("WAL errors", Shape::Lines, "short", "Writes and syncs that failed since the agent began, by errno: each step is a fault. Not as a rate: a counter that begins with one has none.")
                    .ask(format!("sum by (host, op, error) ({errors}{target})"), "{{host}} {{op}} {{error}}")
                    .coloured(&[(1.0, "red")]).runbooks(&["WALFsyncFailure"]),
                panel("Failed syncs", Shape::Figure, "short", "Syncs of the log that failed since the agent began: after one, nothing is known of what was before.")
                    .ask(format!("sum({errors}{})", with(OF_AGENT, &syncs)), "failed")
                    .coloured(&[(1.0, "red")]).runbooks(&["WALFsyncFailure"]),
                panel("Entries in a group commit", Shape::Lines, "short", "How many writes one fsync of the log made durable, as the node counts it.")
                    .ask(quantile(0.5, &node(Node::WalBatch), &nodes, ""), "p50")
                    .ask(quantile(0.99, &node(Node::WalBatch), &nodes, ""), "p99").wide(6),
            ]),
            ("Engines", vec![
                panel("Storage operation latency (p99)", Shape::Lines, "s", "By operation and engine.")
                    .ask(quantile(0.99, &node(Node::StorageDuration), &nodes, "operation, backend"), "{{backend}} {{operation}}"),
                panel("Index look-up latency", Shape::Lines, "s", "One of twenty takes this long or longer.")
                    .ask(quantile(0.95, &node(Node::IndexLookup), &nodes, "index"), "{{index}}")
                    .coloured(&[(LOOKUP, "orange")]).runbooks(&["IndexLookupSlow"]),
                panel("Storage operations", Shape::Stacked, "ops", "By operation and engine.")
                    .ask(rate(&node(Node::StorageOperations), &nodes, "operation, backend"), "{{backend}} {{operation}}"),
                panel("Cache hits", Shape::Lines, "percentunit", "The share of reads that the engine's cache answered.")
                    .ask(
                        format!(
                            "{hits} / ({hits} + {misses})",
                            hits = rate(&node(Node::CacheHits), &nodes, "backend"),
                            misses = rate(&node(Node::CacheMisses), &nodes, "backend")
                        ),
                        "{{backend}}",
                    ),
                panel("Compaction backlog", Shape::Lines, "bytes", "What waits to be merged.")
                    .ask(format!("sum by (backend, instance) ({}{nodes})", node(Node::CompactionPending)), "{{backend}} {{instance}}")
                    .coloured(&[(BACKLOG, "orange")]).runbooks(&["StorageCompactionPending"]),
                panel("Compactions", Shape::Lines, "percentunit", "The share of time in which one runs.")
                    .ask(rate(&node(Node::CompactionSeconds), &nodes, "backend, instance"), "{{backend}} {{instance}}"),
            ]),
        ],
    }
}
