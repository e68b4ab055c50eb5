//! Where alerts begin to fire.

/// The share of a file system or of memory that is too much.
pub(crate) const NEARLY_FULL: f64 = 0.9;
/// The share of a file system that is much.
pub(crate) const DISK_MUCH: f64 = 0.7;
/// The share of memory that is much.
pub(crate) const MEMORY_MUCH: f64 = 0.7;
/// Seconds of replication lag that are too much.
pub(crate) const LAG_CRITICAL: f64 = 300.0;
/// Seconds of replication lag that are much.
pub(crate) const LAG_WARNING: f64 = 60.0;
/// Errors of the log and the engines a second.
pub(crate) const STORAGE_ERRORS: u32 = 1;
/// Days to a certificate's end, when it is urgent.
pub(crate) const CERTIFICATE_CRITICAL: u32 = 7;
/// Days to a certificate's end, when it is time.
pub(crate) const CERTIFICATE_INFO: u32 = 30;
/// Days of an API key.
pub(crate) const KEY_DAYS: u32 = 90;
/// Seconds of an fsync of the log, at the quantile 0.99.
pub(crate) const FSYNC: f64 = 0.1;
/// Seconds of a flush of a disk's cache, at the quantile 0.99.
pub(crate) const FLUSH: f64 = 0.05;
/// The share of requests that are refused or fail.
pub(crate) const REFUSED: f64 = 0.01;
/// Requests a second of which a share means something: of fewer, one is too much of it.
pub(crate) const FEW: f64 = 0.2;
/// Seconds of a request, at the quantile 0.99.
pub(crate) const REQUEST: f64 = 0.5;
/// Seconds of a look-up in an index, at the quantile 0.95.
pub(crate) const LOOKUP: f64 = 0.05;
/// Bytes that wait to be compacted.
pub(crate) const BACKLOG: f64 = 10_000_000_000.0;
/// Seconds in which a breaker should have decided.
pub(crate) const HALF_OPEN: u32 = 300;
/// Hours in which trust must have decayed.
pub(crate) const DECAY_HOURS: f64 = 24.0;
/// The share of events that an agent may lose.
pub(crate) const LOST: f64 = 0.001;
/// Entries a minute that are put into quarantine.
pub(crate) const QUARANTINE: u32 = 10;
/// Gold standards that there should be.
pub(crate) const GOLD: f64 = 3.0;
/// Segments of the log.
pub(crate) const SEGMENTS: f64 = 100.0;
/// Queries a second.
pub(crate) const QUERIES: f64 = 0.1;
