//! The loads.

pub(crate) mod aio;
pub(crate) mod append;
pub(crate) mod crew;
pub(crate) mod demo;
pub(crate) mod disk;
pub(crate) mod durable;
pub(crate) mod edges;
pub(crate) mod exact;
pub(crate) mod hold;
pub(crate) mod latency;
pub(crate) mod mapped;
pub(crate) mod pace;
pub(crate) mod scheduling;
pub(crate) mod short;
pub(crate) mod uring;

/// How many of `total` pieces of work worker `index` of `workers` does: the shares differ by one at most.
pub(crate) fn share(total: u64, workers: u64, index: u64) -> u64 {
    total / workers + u64::from(index < total % workers)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_are_even_and_add_up() {
        let shares: Vec<u64> = (0..4).map(|i| share(10, 4, i)).collect();
        assert_eq!(shares, [3, 3, 2, 2]);
    }
}
