//! The kernel side as the agent sees it: offsets, the loaded object, what is attached and why.

pub mod btf;
pub mod hooks;
pub mod object;
pub mod privileges;
pub mod programs;
pub mod testrun;

pub use hooks::{CAPABILITIES, Verdict};
pub use object::{Kernel, KernelError, Sizes};
