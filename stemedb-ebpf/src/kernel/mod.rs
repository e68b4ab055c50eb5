//! What the probes share: maps, kernel memory, files and their classes, paths, and the life of a call.

pub mod activity;
pub mod atomic;
pub mod call;
pub mod charge;
pub mod class;
pub mod disk;
pub mod file;
pub mod files;
pub mod maps;
pub mod path;
pub mod phases;
pub mod read;
pub mod request;
pub mod rules;
pub mod slow;
pub mod table;
pub mod targets;
pub mod task;
pub mod waits;
