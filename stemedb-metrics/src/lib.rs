//! Metrics of what only the database itself knows: HTTP, storage, indexes, the write-ahead log's entries, the cluster, errors.
//! What the kernel sees (syncs, writes, disks) is `stemedb-probe`'s, and nothing is counted twice.
//!
//! One line covers every route of an axum router, error paths included; small handles cover the rest. Label values are types, histogram
//! bounds are the agent's, and the registry is this crate's own.
//!
//! ```
//! use axum::{Router, routing::get};
//! use stemedb_metrics::{Metrics, Operation};
//!
//! stemedb_metrics::label_values! {
//!     enum Backend { Log = "log" }
//! }
//!
//! # fn main() -> Result<(), stemedb_metrics::Error> {
//! let metrics = Metrics::new()?;
//! let app: Router = Router::new()
//!     .route("/v1/health", get(|| async { "ok" }))
//!     .merge(metrics.routes())
//!     .layer(metrics.http());
//!
//! let puts = metrics.storage.operation(Operation::Put, Backend::Log);
//! {
//!     let _timer = puts.start();
//!     // … the write …
//! }
//! assert!(metrics.text().contains(r#"stemedb_storage_operations_total{backend="log",operation="put"} 1"#));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod bounds;
pub mod catalog;
mod cluster;
mod domain;
mod errors;
mod families;
pub mod http;
mod labels;
mod storage;
mod timer;
mod wal;

use prometheus::{Registry, TextEncoder};

pub use cluster::{Cluster, Peer};
pub use domain::Domain;
pub use errors::{Class, Classify, Errors};
pub use families::Error;
pub use labels::{BreakerState, Direction, Discard, Label, Layer, NodeState, Operation, SyncOutcome};
pub use prometheus::IntCounter;
pub use storage::{Cache, Compaction, Lookups, Storage};
pub use timer::{Timed, Timer};
pub use wal::Wal;

use families::Families;

/// What stands before every name.
pub const NAMESPACE: &str = "stemedb";
/// The value of `Content-Type` for [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a process. A clone is the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    families: Families,
    http: http::Http,
    /// Errors that no response tells.
    pub errors: Errors,
    /// Storage backends and indexes.
    pub storage: Storage,
    /// The write-ahead log.
    pub wal: Wal,
    /// The cluster.
    pub cluster: Cluster,
    /// Breakers, quarantine, trust, keys, certificates, memory.
    pub domain: Domain,
}

impl Metrics {
    /// With the namespace [`NAMESPACE`].
    pub fn new() -> Result<Self, Error> {
        Self::with_namespace(NAMESPACE)
    }

    /// With another namespace.
    pub fn with_namespace(namespace: &str) -> Result<Self, Error> {
        let families = Families::new(namespace);
        #[cfg(target_os = "linux")]
        families.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let errors = Errors::new(&families)?;
        Ok(Self {
            http: http::Http::new(&families, errors.clone())?,
            storage: Storage::new(&families)?,
            wal: Wal::new(&families)?,
            cluster: Cluster::new(&families)?,
            domain: Domain::new(&families)?,
            errors,
            families,
        })
    }

    /// The layer for axum's `Router::layer`, added after all routes: axum's layers cover what was there before them.
    #[cfg(feature = "axum")]
    pub fn http(&self) -> http::HttpLayer<http::Matched> {
        self.http_with(http::Matched)
    }

    /// The layer for any service, with what tells the template of a request's route.
    ///
    /// ```
    /// # let metrics = stemedb_metrics::Metrics::new().unwrap();
    /// fn template<'r>(_: &'r http::Extensions, uri: &'r http::Uri) -> Option<&'r str> {
    ///     match uri.path() {
    ///         path if path.starts_with("/v1/votes/") => Some("/v1/votes/{id}"),
    ///         _ => None,
    ///     }
    /// }
    /// let layer = metrics.http_with(template);
    /// ```
    pub fn http_with<R: http::Route>(&self, route: R) -> http::HttpLayer<R> {
        http::HttpLayer::new(self.http.clone(), route)
    }

    /// A router with `GET /metrics`.
    #[cfg(feature = "axum")]
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> axum::Router<S> {
        let metrics = self.clone();
        let handler = move || {
            let text = metrics.text();
            async move { ([(::http::header::CONTENT_TYPE, CONTENT_TYPE)], text) }
        };
        axum::Router::new().route("/metrics", axum::routing::get(handler))
    }

    /// Everything, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // It fails where a name is no name, which registration has refused already.
        if let Err(error) = TextEncoder::new().encode_utf8(&self.families.registry.gather(), &mut text) {
            text = format!("# {error}\n");
        }
        text
    }

    /// The registry, for metrics of the service's own.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.families.registry
    }
}
