//! A file for each thing that is hooked.

pub mod aio;
pub mod bio;
pub mod block;
pub mod file_errors;
pub mod journal;
pub mod life;
pub mod mapped;
pub mod resolve;
pub mod sched;
pub mod syscalls;
pub mod uring;
