//! A small StemeDB-shaped server. Every figure that it shows comes from something that it does.
#![forbid(unsafe_code)]

pub mod api;
pub mod cluster;
pub mod load;
pub mod memory;
pub mod model;
pub mod replica;
pub mod server;
pub mod service;
pub mod storage;
pub mod wal;
