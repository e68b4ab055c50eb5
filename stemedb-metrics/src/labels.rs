//! Label values as types, so that a misspelt one does not compile.

/// A closed set of label values. [`label_values!`](crate::label_values) makes one.
pub trait Label: Copy + Send + Sync + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The text of the label.
    fn as_str(self) -> &'static str;
}

/// Makes an enum whose variants are label values.
///
/// ```
/// stemedb_metrics::label_values! {
///     /// The secondary indexes.
///     pub enum Index {
///         /// Votes by the one who gave them.
///         ByAuthor = "by_author",
///     }
/// }
/// use stemedb_metrics::Label;
/// assert_eq!(Index::ByAuthor.as_str(), "by_author");
/// ```
#[macro_export]
macro_rules! label_values {
    ($(#[$about:meta])* $visibility:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $visibility enum $name { $($(#[$doc])* $variant),+ }

        impl $crate::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

label_values! {
    /// What is done with a storage backend.
    pub enum Operation {
        /// One key is read.
        Get = "get",
        /// One key is written.
        Put = "put",
        /// One key is removed.
        Delete = "delete",
        /// Keys of a range are read.
        Scan = "scan",
        /// Several keys are written at once.
        Batch = "batch",
        /// What is in memory is made durable.
        Flush = "flush",
    }
}

label_values! {
    /// Where an error comes from.
    pub enum Layer {
        /// The server, before any handler: no route, a body that is too large.
        Http = "http",
        /// Input that is not what it should be.
        Validation = "validation",
        /// Who asks, and whether they may.
        Auth = "auth",
        /// Limits and breakers that turn requests away.
        Limits = "limits",
        /// The service's own work.
        Service = "service",
        /// The write-ahead log.
        Wal = "wal",
        /// Storage backends and indexes.
        Storage = "storage",
        /// Other nodes.
        Cluster = "cluster",
    }
}

label_values! {
    /// How a node of the cluster is.
    pub enum NodeState {
        /// It answers.
        Alive = "alive",
        /// It did not, and may still.
        Suspect = "suspect",
        /// It does not.
        Dead = "dead",
    }
}

label_values! {
    /// How a circuit breaker is.
    pub enum BreakerState {
        /// Everything passes.
        Closed = "closed",
        /// Nothing passes.
        Open = "open",
        /// Some are let through to see.
        HalfOpen = "half_open",
    }
}

label_values! {
    /// Which way a message goes.
    pub enum Direction {
        /// From this node.
        Sent = "sent",
        /// To this node.
        Received = "received",
    }
}

label_values! {
    /// What came of a comparison with a peer.
    pub enum SyncOutcome {
        /// There was no difference.
        Equal = "equal",
        /// There was one, and it is no more.
        Repaired = "repaired",
        /// It could not be done.
        Failed = "failed",
    }
}

label_values! {
    /// Why a recovery did not take bytes at the end of a log.
    pub enum Discard {
        /// The last entry was not written to its end.
        Torn = "torn",
        /// A checksum is wrong.
        Corrupt = "corrupt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_well_formed<L: Label>() {
        for value in L::ALL {
            let text = value.as_str();
            assert!(text.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !text.is_empty(), "{text}");
        }
    }

    #[test]
    fn values_are_lower_case_words() {
        are_well_formed::<Operation>();
        are_well_formed::<Layer>();
        are_well_formed::<NodeState>();
        are_well_formed::<BreakerState>();
        are_well_formed::<Direction>();
        are_well_formed::<SyncOutcome>();
        are_well_formed::<Discard>();
    }
}
