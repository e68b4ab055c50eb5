//! Programs that do nothing: what they cost is what the mechanism costs. `cargo xtask bench` attaches them where the agent's are.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    allow(
        unreachable_pub,
        missing_docs,
        clippy::needless_pass_by_value,
        reason = "the object is the only user; aya's macros hand a program its context by value"
    )
)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod object;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::macros::{btf_tracepoint, fentry, fexit};
    use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, FExitContext};

    #[btf_tracepoint]
    pub fn at_tracepoint(_ctx: BtfTracePointContext) -> i32 {
        0
    }

    #[fentry]
    pub fn at_entry(_ctx: FEntryContext) -> i32 {
        0
    }

    #[fexit]
    pub fn at_exit(_ctx: FExitContext) -> i32 {
        0
    }
}
