//! Latencies in the kernel's slots against latencies that a load has measured around the same calls.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stemedb_ebpf::slots::{SLOTS, latency_slot};

/// The quantiles that are compared.
pub const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// The numbers that a load reports, one for each call.
pub fn figures(reported: &Value) -> Result<Vec<u64>> {
    let all = reported.as_array().map(|all| all.iter().map(Value::as_u64).collect());
    all.flatten().with_context(|| format!("no list of numbers: {reported}"))
}

/// The quantile in seconds of latencies in nanoseconds, which are not none.
pub fn exact(sorted: &[u64], q: f64) -> f64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
    sorted[rank - 1] as f64 / 1e9
}

/// No slot bound has fewer calls below it inside than outside.
pub fn check_dominance(slots: &[u64; SLOTS], seen: &[u64]) -> Result<()> {
    let mut outside = [0_u64; SLOTS];
    for ns in seen {
        outside[latency_slot(*ns)] += 1;
    }
    let (mut below_inside, mut below_outside) = (0, 0);
    for slot in 0..SLOTS {
        below_inside += slots[slot];
        below_outside += outside[slot];
        ensure!(below_inside >= below_outside, "slot {slot}: {below_inside} calls inside, {below_outside} outside");
    }
    Ok(())
}
