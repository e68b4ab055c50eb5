//! Where alerts begin to fire.

/// The share of a file system or of memory that is too much.
pub(super) const NEARLY_FULL: f64 = 0.9;
/// The share of a file system that is much.
pub(super) const DISK_MUCH: f64 = 0.7;
/// The share of memory that is much.
pub(super) const MEMORY_MUCH: f64 = 0.7;
/// Seconds of replication lag that are too much.
pub(super) const LAG_CRITICAL: u32 = 300;
/// Seconds of replication lag that are much.
pub(super) const LAG_WARNING: u32 = 60;
/// Errors of the log and the engines a second.
pub(super) const STORAGE_ERRORS: u32 = 1;
/// Days to a certificate's end, when it is urgent.
pub(super) const CERTIFICATE_CRITICAL: u32 = 7;
/// Days to a certificate's end, when it is time.
pub(super) const CERTIFICATE_INFO: u32 = 30;
/// Days of an API key.
pub(super) const KEY_DAYS: u32 = 90;
/// Seconds of an fsync of the log, at the quantile 0.99.
pub(crate) const FSYNC: f64 = 0.1;
/// Seconds of a flush of a disk's cache, at the quantile 0.99.
pub(super) const FLUSH: f64 = 0.05;
/// The share of requests that are refused or fail.
pub(super) const REFUSED: f64 = 0.01;
/// Requests a second of which a share means something: of fewer, one is too much of it.
pub(crate) const FEW: f64 = 0.2;
/// Seconds of a request, at the quantile 0.99.
pub(crate) const REQUEST: f64 = 0.5;
/// Seconds of a look-up in an index, at the quantile 0.95.
pub(super) const LOOKUP: f64 = 0.05;
/// Bytes that wait to be compacted.
pub(super) const BACKLOG: u64 = 10_000_000_000;
/// Seconds in which a breaker should have decided.
pub(super) const HALF_OPEN: u32 = 300;
/// Hours in which trust must have decayed.
pub(super) const DECAY_HOURS: u32 = 24;
/// The share of events that an agent may lose.
pub(super) const LOST: f64 = 0.001;
/// Entries a minute that are put into quarantine.
pub(super) const QUARANTINE: u32 = 10;
/// Gold standards that there should be.
pub(super) const GOLD: u32 = 3;
/// Segments of the log.
pub(super) const SEGMENTS: u32 = 100;
/// Queries a second.
pub(super) const QUERIES: f64 = 0.1;
