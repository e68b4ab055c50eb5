//! The type information of other kernels, reduced to what the agent asks of it, and what the agent makes of it.

pub mod asked;
pub mod encode;
pub mod fixtures;
pub mod reduce;
pub mod report;
