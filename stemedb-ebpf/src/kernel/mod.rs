//! What the probes share: maps, kernel memory, files and their classes, paths, and the life of a call.

pub mod atomic;
pub mod call;
pub mod charge;
pub mod class;
pub mod disk;
pub mod file;
pub mod maps;
pub mod owners;
pub mod path;
pub mod read;
pub mod request;
pub mod rules;
pub mod task;
pub mod waits;
