//! Bounds of histograms: those that the agent gives its own, so that what the API took and what the kernel took can be laid over
//! each other.

use stemedb_ebpf::slots::{BOUNDS, LE_STEP, bound_seconds};

/// The highest bound of a size is 2 to the power of this.
const LARGEST: u32 = 20;

/// Upper bounds of latencies in seconds: two for each doubling, from 2^-20 (0.95 us) to 2^5.
#[must_use]
pub fn latency() -> Vec<f64> {
    (0..BOUNDS).step_by(LE_STEP).map(bound_seconds).collect()
}

/// Upper bounds of numbers of things: 0, and powers of two to 2^20.
#[must_use]
pub fn size() -> Vec<f64> {
    std::iter::once(0.0).chain((0..=LARGEST).map(|exponent| f64::from(1 << exponent))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_go_from_a_microsecond_to_half_a_minute() {
        let all = latency();
        assert_eq!((all.len(), all[0], all[all.len() - 1]), (51, 2_f64.powi(-20), 32.0));
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size()[..4], [0.0, 1.0, 2.0, 4.0]);
    }
}
