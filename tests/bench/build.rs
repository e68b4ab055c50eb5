//! Finds the object with the empty programs, which `cargo xtask build-ebpf` makes beside the agent's.

use std::path::Path;

fn main() {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bpf/stemedb-floor.o");
    println!("cargo::rerun-if-changed={}", object.display());
    if object.is_file() {
        println!("cargo::rustc-env=STEMEDB_FLOOR_OBJECT={}", object.display());
    } else {
        println!("cargo::error={} is missing: run `cargo xtask build-ebpf` first", object.display());
    }
}
