//! The one BPF object. A file in `probes/` for each thing that is hooked, and in `kernel/` what they share.
//! On the host this is an empty program, so that `cargo` can build the whole workspace.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    allow(
        unreachable_pub,
        missing_docs,
        clippy::needless_borrows_for_generic_args,
        clippy::needless_pass_by_value,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "the object is the only user of its modules; a key by value is one more copy on a stack of 512 bytes; \
                  aya's macros hand a program its context by value; \
                  registers are 64 bits wide whatever the kernel's types are"
    )
)]

#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod probes;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
