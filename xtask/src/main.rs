//! The tasks of this workspace, as `cargo xtask TASK`: everything from an empty machine to a tested build.

mod apt;
mod bench;
mod boards;
mod build;
mod cross;
mod demo;
mod docs;
mod ebpf;
mod fixture;
mod kit;
mod linker;
mod process;
mod run;
mod setup;
mod shell;
mod stack;
mod test;
mod toolchain;
mod view;
mod vm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cross::Arch;

/// Set up, build, run, demonstrate and test stemedb-probe.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install whatever is missing to build: a toolchain for the eBPF object, its linker, mounts
    Setup {
        /// Change nothing; list what is missing, and exit with status 1 if anything is
        #[arg(long)]
        check: bool,
        /// Also what the tests need
        #[arg(long)]
        tests: bool,
        /// Also what checks the dependencies: cargo-deny
        #[arg(long)]
        lint: bool,
        /// Also what tests other kernels: QEMU
        #[arg(long)]
        vm: bool,
        /// Also what the agent is compared with: bpftrace, libbpf-tools
        #[arg(long)]
        bench: bool,
    },
    /// Build the eBPF object
    BuildEbpf(For),
    /// Build the eBPF object and the agent
    Build(For),
    /// Build, then run the agent as root: `cargo xtask run -- doctor`
    Run {
        /// Arguments of the agent
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Watch the reference node under load, its API above the kernel, and compare what each has counted
    Demo(demo::Options),
    /// Everything that must hold for a change: formatting, lints, tests, generated documents
    Test {
        /// Leave out the tests that load programs into the kernel
        #[arg(long)]
        fast: bool,
    },
    VmTest(vm::Options),
    /// Measure what the agent costs, and write docs/overhead.md: `cargo xtask bench -- --help`
    Bench {
        /// Arguments of the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    Instructions(vm::instructions::Options),
    /// Record the type information of a kernel as a fixture of the tests (tests/btf/fixtures)
    BtfFixture {
        /// Raw BTF, such as /sys/kernel/btf/vmlinux
        file: PathBuf,
        /// The fixture's name, which ends with -amd64 or -arm64
        name: String,
    },
    /// Run nodes under load, the agent, Prometheus and Alertmanager on loopback: `cargo xtask stack -- --help`
    Stack {
        /// Arguments of the stack
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    LiveTest(stack::LiveTest),
    /// Write what is generated in deploy/: rules, alerts and their tests, scrape configurations, boards
    Kit {
        /// Change nothing; exit with status 1 if a file is stale
        #[arg(long)]
        check: bool,
    },
    /// Write docs/metrics.md from the catalogues of the agent and of stemedb-metrics
    Docs {
        /// Change nothing; exit with status 1 if the file is stale
        #[arg(long)]
        check: bool,
    },
}

/// What is built.
#[derive(clap::Args)]
struct For {
    /// The architecture of the kernel
    #[arg(long, value_enum, default_value_t = Arch::HOST)]
    arch: Arch,
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Setup { check, tests, lint, vm, bench } => {
            setup::command(setup::Options { check, tests, lint, vm, bench, quiet: false })
        }
        Task::BuildEbpf(For { arch }) => ebpf::build(arch).map(|()| ExitCode::SUCCESS),
        Task::Build(For { arch }) => build::agent_for(arch).map(|()| ExitCode::SUCCESS),
        Task::Run { arguments } => run::agent(&arguments),
        Task::Demo(options) => demo::demo(&options),
        Task::Test { fast } => Ok(test::all(fast)),
        Task::VmTest(options) => vm::command(&options),
        Task::Bench { arguments } => bench::command(&arguments),
        Task::Instructions(options) => vm::instructions::command(&options),
        Task::BtfFixture { file, name } => fixture::record(&file, &name).map(|()| ExitCode::SUCCESS),
        Task::Stack { arguments } => stack::command(&arguments),
        Task::LiveTest(options) => stack::live_test(&options),
        Task::Kit { check } => kit::command(check),
        Task::Docs { check } => docs::command(check),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_hands_every_argument_on() {
        let cli = Cli::try_parse_from(["cargo xtask", "run", "--", "run", "--listen", "127.0.0.1:0"]).unwrap();
        let Task::Run { arguments } = cli.task else { panic!("not run") };
        assert_eq!(arguments, ["run", "--listen", "127.0.0.1:0"]);
    }
}
