//! The command line of the loads; see `--help`.
//!
//! No load writes to or syncs a regular file outside of what it counts, from its start to its end. So its files
//! are made and given their size without a write, its results go to a pipe or a terminal, and progress is silent
//! where it would go to a file.
#![forbid(unsafe_code)]

mod commands;
mod control;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{aio, demo, disk, durable, edges, exact, hold, latency, mapped, pace, short, uring};

/// Loads that count and time their own system calls.
///
/// Each prints `ready PID`, waits for a line on its standard input, does its work, prints what it did as one line
/// of JSON, and waits for another line before it ends. End of file counts as a line.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Disk(disk::Args),
    Exact(exact::Args),
    #[command(hide = true)]
    ExactChild(exact::ChildArgs),
    Short(short::Args),
    Latency(latency::Args),
    Hold(hold::Args),
    Aio(aio::Args),
    Durable(durable::Args),
    Edges(edges::Args),
    Mapped(mapped::Args),
    Pace(pace::Args),
    Uring(uring::Args),
    UringLatency(uring::LatencyArgs),
}

fn main() -> ExitCode {
    // A short life is over before a command line would be parsed.
    if let Some(code) = short::child() {
        return code;
    }
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Disk(args) => disk::run(&args),
        Command::Exact(args) => exact::run(&args),
        Command::ExactChild(args) => exact::run_child(&args),
        Command::Short(args) => short::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Hold(args) => hold::run(&args),
        Command::Aio(args) => aio::run(&args),
        Command::Durable(args) => durable::run(&args),
        Command::Edges(args) => edges::run(&args),
        Command::Mapped(args) => mapped::run(&args),
        Command::Pace(args) => pace::run(&args),
        Command::Uring(args) => uring::run(&args),
        Command::UringLatency(args) => uring::run_latency(&args),
    }
}
