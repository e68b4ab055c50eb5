//! From a snapshot to an exposition: `families` says which samples there are, `text` writes them down.

pub mod disks;
pub mod families;
pub mod status;
pub mod text;

pub use families::families;
pub use text::{Format, write};
