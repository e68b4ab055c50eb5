//! What recording costs, beside the `prometheus` crate's own: `cargo bench -p stemedb-metrics`.
//!
//! The goals: under 100 ns for a counter and under 150 ns for a histogram with resolved labels. What fails is a handle that costs more than
//! the crate's own and a little: absolute times are the machine's.

use std::hint::black_box;
use std::time::{Duration, Instant};

use prometheus::{Histogram, HistogramOpts, IntCounter};
use stemedb_metrics::{Metrics, Operation, bounds};

stemedb_metrics::label_values! {
    enum Backend { One = "one" }
}

/// Rounds, of which the best counts: whatever disturbs makes it slower.
const ROUNDS: usize = 20;
const CALLS: u32 = 100_000;
/// Of what a handle is made of.
const LIMIT: f64 = 2.0;

/// Nanoseconds of a call.
fn cost(mut call: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        (0..CALLS).for_each(|_| call());
        best = best.min(begin.elapsed());
    }
    best.as_secs_f64() * 1e9 / f64::from(CALLS)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = Metrics::new()?;
    let puts = metrics.storage.operation(Operation::Put, Backend::One);
    let gossip = metrics.cluster.gossip(stemedb_metrics::Direction::Sent);
    let bare_counter = IntCounter::new("bare", "bare")?;
    let bare = Histogram::with_opts(HistogramOpts { buckets: bounds::latency(), ..HistogramOpts::new("h", "h") })?;
    let mut seconds = 1e-6;
    let mut next = move || {
        seconds = if seconds > 1.0 { 1e-6 } else { seconds * 1.01 };
        seconds
    };
    let counter = cost(|| black_box(&gossip).inc());
    let bare_counter = cost(|| black_box(&bare_counter).inc());
    let timed = cost(|| black_box(&puts).observe(next()));
    let bare_histogram = cost(|| black_box(&bare).observe(next()));
    let rows = [
        ("a counter", counter),
        ("the prometheus crate's", bare_counter),
        ("a counter and a histogram", timed),
        ("the prometheus crate's histogram", bare_histogram),
        ("a counter, a histogram, two looks at the clock", cost(|| drop(black_box(&puts).start()))),
        (
            "two looks at the clock",
            cost(|| {
                black_box(Instant::now().elapsed());
            }),
        ),
    ];
    for (what, ns) in rows {
        println!("{what:<50} {ns:>7.1} ns");
    }
    let fine = counter < LIMIT * bare_counter && timed < LIMIT * (bare_histogram + bare_counter);
    if fine { Ok(()) } else { Err("a handle costs more than twice what it is made of".into()) }
}
