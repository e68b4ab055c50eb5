//! The first process of a test machine; and, started with `run PLAN`, what runs the tests there or on the host.
#![forbid(unsafe_code)]

mod init;
mod runner;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stemedb-vm-init: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    if std::process::id() == 1 {
        return init::boot();
    }
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match &args[..] {
        [word, plan] if word == OsStr::new("run") => runner::run(Path::new(plan)),
        _ => bail!("usage: stemedb-vm-init run PLAN"),
    }
}
