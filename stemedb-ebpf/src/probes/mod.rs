//! One file for each thing that is hooked.

pub mod life;
pub mod resolve;
pub mod syscalls;
