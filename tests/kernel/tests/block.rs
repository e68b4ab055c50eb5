//! Block I/O, charged to targets, classes and origins, against what the kernel counts by itself: /proc/diskstats and the
//! events of tracefs.

mod block {
    mod conservation;
    mod errors;
    mod journal;
    mod metrics;
    mod stages;
}
