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

use std::path::PathBuf;

/// Where the load is.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Directory of the files
    #[arg(long)]
    dir: PathBuf,
    /// Class of the directory
    #[arg(long, default_value = "wal")]
    class: String,
    /// Threads, each with a file of its own but where all are on one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    threads: u64,
}

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
