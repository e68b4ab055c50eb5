//! The ground truth of the tests: system calls that are counted and timed by the process that makes them.
//!
//! ```
//! use stemedb_workload::{Op, Tally};
//!
//! # fn main() -> std::io::Result<()> {
//! let file = tempfile::tempfile()?;
//! let mut tally = Tally::new();
//! tally.on("wal").write(&file, b"entry")?;
//! tally.on("wal").fdatasync(&file)?;
//! assert_eq!(tally.calls("wal", Op::Write), 1);
//! assert_eq!(tally.bytes("wal", Op::Write), 5);
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod counted;
mod errno;
pub mod rng;
#[allow(unsafe_code, reason = "the one file that makes system calls")]
pub mod sys;
mod tally;
mod wire;

pub use counted::Counted;
pub use errno::errno_name;
pub use stemedb_ebpf::ops::Op;
pub use tally::Tally;
