//! The ABI between the eBPF object and the agent: what is in each map, and the few pure functions that
//! both sides must compute alike (histogram slots, glob automata, the table of operations).
//!
//! Everything here is `no_std`, has a fixed layout, and is compiled twice: for `bpf` into the object and
//! for the host into the agent and the tests.
#![cfg_attr(target_arch = "bpf", no_std, feature(asm_experimental_arch))]

/// An enumeration and the values of its label.
macro_rules! labels {
    ($(#[$doc:meta])* $type:ident, $table:ident: $($(#[$each:meta])* $id:ident = $value:literal, $name:literal;)+) => {
        $(#[$doc])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$each])* $id = $value),+ }

        $(#[$doc])*
        /// The values of its label, at the place of their numbers.
        pub const $table: &[&str] = &[$($name),+];
    };
}

pub mod disk;
pub mod files;
pub mod glob;
pub mod lost;
pub mod offsets;
pub mod ops;
pub mod phases;
pub mod slots;
pub mod tables;
pub mod types;

pub use lost::{LOST, Lost};
pub use types::*;

/// Implements `aya::Pod`, so that the agent may move these types in and out of maps as bytes.
#[cfg(feature = "user")]
macro_rules! pod {
    ($($type:ty),+ $(,)?) => { $(
        // SAFETY: `repr(C)`, made of integers and arrays of integers, and without padding: each type
        // has a size assertion beside its definition.
        unsafe impl aya::Pod for $type {}
    )+ };
}

#[cfg(feature = "user")]
pod!(
    glob::Automaton,
    offsets::Offsets,
    disk::DiskCounts,
    disk::DiskErrorKey,
    disk::DiskKey,
    disk::EndFunctions,
    disk::FileErrorKey,
    disk::FlushKey,
    disk::FlushStats,
    disk::LatencyKey,
    disk::LatencyStats,
    disk::Waits,
    files::FileRecord,
    phases::Syncers,
    phases::WaitFunctions,
    tables::Processes,
    ChildEntry,
    ChildKey,
    ClassRule,
    DirEntry,
    ErrorKey,
    Event,
    Inflight,
    MappedStats,
    ProcessRule,
    Resolved,
    Settings,
    SyncStats,
    TargetEntry,
    WriteStats,
);
