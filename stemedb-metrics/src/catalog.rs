//! Every metric: name, type, labels, help. Written once; registration, `docs/metrics.md` and the checks derive from it.

/// Prometheus' types that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets of seconds with a sum and a count.
    Latency,
    /// Cumulative buckets of a number of things with a sum and a count.
    Size,
}

impl Kind {
    /// The word in the exposition.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Latency | Self::Size => "histogram",
        }
    }
}

/// One row of [`METRICS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// What to call it in the code.
    pub id: Id,
    /// Its name without the namespace.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its help text: what is counted, and in which unit.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident, $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)+) => {
        /// Names a metric in the code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is documented by its help text")]
        pub enum Id { $($id),+ }

        /// Every metric of the crate.
        pub const METRICS: &[Metric] = &[$(Metric {
            id: Id::$id,
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        }),+];
    };
}

metrics! {
    HttpRequests, "http_requests_total", Counter, ["method", "path"], "Requests that have begun, by the template of their route; <unmatched> where no route fits.";
    HttpDuration, "http_request_duration_seconds", Latency, ["method", "path", "status"], "Time from the request to the last byte of the response; status 499 where the client went before there was one.";
    HttpInFlight, "http_requests_in_flight", Gauge, [], "Requests that have begun and not ended.";
    HttpAborted, "http_responses_aborted_total", Counter, ["method", "path"], "Responses of which the client did not get all: it went before, or the body failed.";
    Errors, "errors_total", Counter, ["type", "layer"], "Errors, each once: those that an HTTP response told, and those that were counted without one.";
    StorageDuration, "storage_operation_duration_seconds", Latency, ["operation", "backend"], "Time of an operation on a storage backend, failed ones too.";
    StorageOperations, "storage_operations_total", Counter, ["operation", "backend"], "Operations on a storage backend, failed ones too.";
    IndexLookup, "index_lookup_duration_seconds", Latency, ["index"], "Time of a look-up in a secondary index.";
    CacheHits, "storage_cache_hits_total", Counter, ["backend"], "Reads that the backend's cache answered, as the engine counts them.";
    CacheMisses, "storage_cache_misses_total", Counter, ["backend"], "Reads that the backend's cache could not answer, as the engine counts them.";
    CacheEntries, "storage_cache_entries", Gauge, ["backend"], "Entries in the backend's cache.";
    CacheBytes, "storage_cache_bytes", Gauge, ["backend"], "Size of the backend's cache.";
    CompactionPending, "storage_compaction_pending_bytes", Gauge, ["backend"], "Bytes that wait to be compacted.";
    CompactionRuns, "storage_compaction_runs_total", Counter, ["backend"], "Compactions that have ended, as the engine counts them.";
    CompactionSeconds, "storage_compaction_seconds_total", Counter, ["backend"], "Time in compactions, as the engine counts it.";
    CompactionRunning, "storage_compaction_running", Gauge, ["backend"], "Compactions that run now.";
    WalBatch, "wal_batch_size", Size, [], "Entries that one group commit of the write-ahead log made durable.";
    WalRecoveries, "wal_recovery_attempts_total", Counter, [], "Recoveries of the write-ahead log that were begun.";
    WalRecovery, "wal_recovery_duration_seconds", Latency, [], "Time of a recovery of the write-ahead log.";
    WalRecovered, "wal_recovered_entries_total", Counter, [], "Entries that recoveries found whole.";
    WalDiscarded, "wal_recovery_discarded_bytes_total", Counter, ["reason"], "Bytes at the end of the log that recoveries did not take: torn, an entry that was not written to its end; corrupt, one whose checksum is wrong.";
    ClusterNodes, "cluster_nodes", Gauge, ["state"], "Nodes of the cluster as this one sees them, itself included.";
    ClusterExpected, "cluster_nodes_expected", Gauge, [], "Nodes that the cluster is configured to have.";
    ClusterQuorum, "cluster_quorum", Gauge, [], "1 while this node sees more than half of the nodes that the cluster should have; else 0.";
    ClusterJoins, "cluster_node_joins_total", Counter, [], "Nodes that joined, or came back after they were dead.";
    GossipMessages, "gossip_messages_total", Counter, ["direction"], "Datagrams of the membership protocol.";
    ReplicationLag, "replication_lag_seconds", Gauge, ["peer"], "Age of the oldest write of this node that the peer has not acknowledged; 0 where it has all.";
    ReplicationPending, "replication_pending_entries", Gauge, ["peer"], "Writes of this node that the peer has not acknowledged.";
    SyncOperations, "sync_operations_total", Counter, ["peer", "outcome"], "Comparisons with a peer by Merkle trees.";
    MerkleDiff, "merkle_diff_size", Size, [], "Entries that differed in one comparison with a peer.";
    Converged, "cluster_converged", Gauge, ["peer"], "1 when the last comparison with the peer found no difference; else 0.";
    Breakers, "circuit_breakers", Gauge, ["state"], "Circuit breakers by state.";
    BreakerTrips, "circuit_breaker_trips_total", Counter, [], "Times that a circuit breaker opened.";
    BreakerHalfOpen, "circuit_breaker_half_open_seconds", Gauge, [], "For how long the breaker that has been half open for longest has been so; 0 without one.";
    Quarantined, "quarantine_entries", Gauge, [], "Entries in quarantine.";
    QuarantineAdded, "quarantine_added_total", Counter, [], "Entries that were put into quarantine.";
    TrustDecay, "trust_rank_decay_last_run_timestamp_seconds", Gauge, [], "When the decay of trust ranks last ran to its end; absent before the first time.";
    GoldStandards, "gold_standards", Gauge, [], "Gold standards that answers are checked against.";
    ApiKeyCreated, "api_key_created_timestamp_seconds", Gauge, ["key"], "When an API key was made, by the key's name.";
    CertificateExpiry, "tls_certificate_expiry_timestamp_seconds", Gauge, ["certificate"], "When a TLS certificate expires.";
    MemoryLimit, "memory_limit_bytes", Gauge, [], "Memory that the process may use: the limit of its control group, else that of the machine.";
}

/// The row of a metric.
#[must_use]
pub const fn metric(id: Id) -> &'static Metric {
    &METRICS[id as usize]
}

/// The rows as a table for `docs/metrics.md`.
#[must_use]
pub fn markdown(namespace: &str) -> String {
    let mut out = String::from("| metric | type | labels | what it is |\n|---|---|---|---|\n");
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (metric.name, metric.kind.word());
        out += &format!("| `{namespace}_{name}` | {kind} | {} | {} |\n", labels.join(", "), metric.help);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_row_is_found_by_its_id() {
        assert!(METRICS.iter().all(|row| metric(row.id) == row));
    }

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for Metric { name, kind, labels, help, .. } in METRICS {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(*kind == Kind::Latency, name.ends_with("_duration_seconds"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(labels.iter().all(|label| *label != "le" && *label != "quantile"), "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
        }
    }

    #[test]
    fn a_name_is_there_once() {
        assert_eq!(METRICS.iter().map(|row| row.name).collect::<BTreeSet<_>>().len(), METRICS.len());
    }

    #[test]
    fn the_table_has_every_row() {
        let text = markdown("stemedb");
        assert_eq!(text.lines().count(), METRICS.len() + 2);
        assert!(text.contains("| `stemedb_http_requests_total` | counter | `method`, `path` |"), "{text}");
    }
}
