//! The kernel side as the agent sees it: offsets, the loaded object, what is attached and why.

pub mod attach;
pub mod btf;
pub mod grace;
pub mod hooks;
pub mod members;
pub mod object;
pub mod privileges;
pub mod programs;
pub mod syscalls;
pub mod testrun;
pub mod typeinfo;
pub mod types;

pub use hooks::{CAPABILITIES, Mode, Verdict};
pub use object::{Kernel, KernelError, Sizes};
