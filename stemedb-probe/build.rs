//! Finds the eBPF object, which `cargo xtask build-ebpf` makes: cargo cannot build for two targets at once.

use std::path::{Path, PathBuf};

const VARIABLE: &str = "STEMEDB_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let object = std::env::var_os(VARIABLE).map_or_else(default_object, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    if object.is_file() {
        println!("cargo::rustc-env={VARIABLE}={}", object.display());
    } else {
        println!("cargo::error=the eBPF object {} is missing: run `cargo xtask build-ebpf` first", object.display());
    }
}

/// Each architecture has its own: `cargo xtask build-ebpf --arch ARCH` puts it there.
fn default_object() -> PathBuf {
    let [host, arch] = ["HOST", "CARGO_CFG_TARGET_ARCH"].map(|name| std::env::var(name).unwrap_or_default());
    let folder = if host.starts_with(&arch) { "bpf".to_owned() } else { format!("bpf-{arch}") };
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    target.join(folder).join("stemedb-ebpf.o")
}
