//! The binary: parse, run, exit status.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info,aya=warn,aya_obj=warn")).init();
    stemedb_probe::cli::main(stemedb_probe::cli::Cli::parse())
}
