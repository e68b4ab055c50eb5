//! The kernel side as the agent sees it: offsets, the loaded object, what is attached and why.

pub mod attach;
pub mod btf;
pub mod capabilities;
pub mod grace;
pub mod hooks;
pub mod members;
pub mod object;
pub mod privileges;
pub mod programs;
pub mod shared;
pub mod symbols;
pub mod syscalls;
pub mod testrun;
pub mod typeinfo;
pub mod types;

pub use capabilities::CAPABILITIES;
pub use hooks::{Mode, Verdict};
pub use object::{How, Kernel, KernelError, Sizes};
