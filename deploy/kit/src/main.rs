//! Writes the files of the kit, or compares them; `cargo xtask kit` runs it.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

/// Writes what is generated in deploy/
#[derive(Parser)]
struct Options {
    /// The folder deploy/
    folder: PathBuf,
    /// Change nothing; exit with status 1 if a file is stale
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stemedb-kit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all files are as they should be.
fn run(options: &Options) -> Result<bool> {
    let mut stale = 0;
    for (name, wanted) in stemedb_kit::files() {
        let path = options.folder.join(&name);
        if options.check {
            if fs::read_to_string(&path).ok().as_deref() != Some(&wanted) {
                stale += 1;
                eprintln!("{} is stale: run `cargo xtask kit`", path.display());
            }
            continue;
        }
        let folder = path.parent().context("a file is in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, wanted).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(stale == 0)
}
