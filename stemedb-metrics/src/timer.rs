//! Time from the start of something to its end.

use std::time::Instant;

use prometheus::{Histogram, IntCounter};

/// Measures from when it was made to when it is dropped, also where a `?` or a panic ends what it measures.
#[must_use = "it measures until it is dropped"]
#[derive(Debug)]
pub struct Timer<'h> {
    histogram: &'h Histogram,
    begin: Instant,
}

impl<'h> Timer<'h> {
    pub(crate) fn new(histogram: &'h Histogram) -> Self {
        Self { histogram, begin: Instant::now() }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.histogram.observe(self.begin.elapsed().as_secs_f64());
    }
}

/// A counter with a histogram of how long each took, whose labels are resolved: what is kept where the work is done.
#[derive(Clone, Debug)]
pub struct Timed {
    pub(crate) count: IntCounter,
    pub(crate) duration: Histogram,
}

impl Timed {
    /// Counts one, and measures it until what is returned is dropped.
    pub fn start(&self) -> Timer<'_> {
        self.count.inc();
        Timer::new(&self.duration)
    }

    /// Counts one that has been measured.
    pub fn observe(&self, seconds: f64) {
        self.count.inc();
        self.duration.observe(seconds);
    }
}
