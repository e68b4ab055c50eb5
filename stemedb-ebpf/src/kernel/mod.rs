//! What the probes share: maps, kernel memory, files and their classes, paths, and the life of a call.

pub mod atomic;
pub mod call;
pub mod class;
pub mod file;
pub mod maps;
pub mod path;
pub mod read;
pub mod rules;
pub mod task;
