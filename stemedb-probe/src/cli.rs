//! The command line. Flags win over the file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::config::profiles::{self, Profile};
use crate::config::{self, Config, ConfigError, FilePattern, ProcessPattern, Slow};
use crate::kernel::{How, Mode};
use crate::trace::{self, Options};
use crate::{catalog, doctor};

/// Nothing failed.
pub const DONE: u8 = 0;
/// Something failed.
pub const FAILED: u8 = 1;
/// Bad usage or configuration.
pub const BAD_USAGE: u8 = 2;

/// Where a database's fsync and write time goes, from the kernel to Prometheus.
///
/// Watches the processes of a database and the files that they write, without any change to the database. Needs root, or
/// the capabilities that `stemedb-probe doctor` lists.
#[derive(Debug, Parser)]
#[command(name = "stemedb-probe", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch, and serve the figures to Prometheus until SIGTERM or Ctrl-C
    ///
    /// Examples: stemedb-probe run --profile postgres, or by hand: stemedb-probe run --target pg:comm=postgres --class
    /// pg:wal=/var/lib/postgresql/15/main/pg_wal
    Run(RunArgs),
    /// Print each slow sync call as it ends, with where its time went, until Ctrl-C
    ///
    /// Then a summary follows. Examples: stemedb-probe trace --profile postgres, or: stemedb-probe trace --target db:pid=4711
    /// --slower-than 2ms --json
    Trace(TraceArgs),
    /// Tell what this kernel allows, which hook each capability would use, what is missing and how to get it
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Type information of the running kernel, when /sys/kernel/btf/vmlinux is not there
        #[arg(long, value_name = "FILE")]
        btf: Option<PathBuf>,
        /// As for `run`
        #[arg(long, value_enum, value_name = "WHICH", default_value_t)]
        hooks: Mode,
        /// As for `run`
        #[arg(long, value_name = "CAPABILITY", value_parser = config::parse_without)]
        without: Vec<String>,
    },
    /// List every metric: name, labels, type and what it means
    Metrics {
        /// As JSON
        #[arg(long, conflicts_with = "markdown")]
        json: bool,
        /// As the page docs/metrics.md
        #[arg(long)]
        markdown: bool,
    },
    /// Read a configuration file, and say what is wrong with it or what it asks for
    CheckConfig {
        /// The file
        file: PathBuf,
    },
}

/// What `run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Address to serve /metrics, /status, /api/v1/slow, /healthz and /readyz on [default: 127.0.0.1:18190]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = config::parse_listen)]
    listen: Option<std::net::SocketAddr>,
    #[command(flatten)]
    watch: WatchArgs,
}

/// What `trace` takes.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Print calls that took at least this long: a number with ns, us, ms or s; 0 is every call
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = trace::parse_time)]
    slower_than: std::time::Duration,
    /// One JSON object a line, without header and summary
    #[arg(long)]
    json: bool,
    /// End after so many calls
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    #[command(flatten)]
    watch: WatchArgs,
}

/// What is to be watched, and how.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Configuration in TOML; the flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, value_name = "[NAME:]PROFILE", value_parser = profiles::parse_profile_flag, help = profiles::help())]
    profile: Vec<(String, &'static Profile)>,
    /// Processes to watch: KEY is comm, exe, cgroup, unit (globs) or pid (and what it forks from then on); several rules for a NAME add up
    #[arg(long, value_name = "NAME:KEY=PATTERN", value_parser = config::parse_target_flag)]
    target: Vec<(String, ProcessPattern)>,
    /// Class of files: everything below DIR, an absolute path or, as NAME/, the name of directories anywhere; or, without a
    /// `/`, files whose name matches the glob [default: the WAL directory is found among the open files]
    #[arg(long, value_name = "NAME:CLASS=DIR", value_parser = config::parse_class_flag)]
    class: Vec<(String, String, FilePattern)>,
    /// Type information of the running kernel, when /sys/kernel/btf/vmlinux is not there
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,
    /// Hooks to use, for tests and for reports of bugs: the figures are the same with each [default: auto]
    #[arg(long, value_enum, value_name = "WHICH")]
    hooks: Option<Mode>,
    /// Do without a capability that `stemedb-probe doctor` lists: for what it costs, or to see what is lost without it
    #[arg(long, value_name = "CAPABILITY", value_parser = config::parse_without)]
    without: Vec<String>,
}

impl RunArgs {
    /// The file and the flags together.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let mut config = self.watch.resolve()?;
        config.listen = self.listen.unwrap_or(config.listen);
        Ok(config)
    }
}

impl TraceArgs {
    /// The file and the flags together.
    pub fn resolve(&self) -> Result<(Config, Options), ConfigError> {
        let mut config = self.watch.resolve()?;
        config.slow = Slow::From(u64::try_from(self.slower_than.as_nanos()).unwrap_or(u64::MAX));
        let seconds = self.seconds.map(std::time::Duration::from_secs);
        Ok((config, Options { json: self.json, count: self.count, seconds, slower_than: self.slower_than }))
    }
}

impl WatchArgs {
    /// The file and the flags together.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let mut config = self.config.as_deref().map(config::read_file).transpose()?.unwrap_or_default();
        if self.btf.is_some() {
            config.btf.clone_from(&self.btf);
        }
        config.hooks = self.hooks.unwrap_or(config.hooks);
        if !self.without.is_empty() {
            config.without.clone_from(&self.without);
        }
        for (name, profile) in &self.profile {
            config.target_mut(name)?.profile = Some(profile);
        }
        let mut replaced = Vec::new();
        for (name, rule) in &self.target {
            let target = config.target_mut(name)?;
            if !replaced.contains(name) {
                replaced.push(name.clone());
                target.processes.clear();
            }
            target.processes.push(rule.clone());
        }
        let mut replaced = Vec::new();
        for (name, class, pattern) in &self.class {
            if name == profiles::DEFAULT && config.targets.is_empty() {
                config = config.finish()?;
            }
            let target = config.target_mut(name)?;
            if !replaced.contains(&(name, class)) {
                replaced.push((name, class));
                target.files.retain(|(other, _)| other != class);
            }
            target.files.push((class.clone(), pattern.clone()));
        }
        match &self.config {
            Some(file) => in_file(file, config.finish()),
            None => config.finish(),
        }
    }
}

/// Does what the command line says.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Run(args) => match args.resolve() {
            Ok(config) => crate::run_until_signal(config),
            Err(error) => return usage(&error),
        },
        Command::Trace(args) => match args.resolve() {
            Ok((config, options)) => trace::run_until_signal(config, options),
            Err(error) => return usage(&error),
        },
        Command::Doctor { json, btf, hooks, without } => {
            doctor::run(json, How { hooks, btf: btf.as_deref(), without: &without })
        }
        Command::Metrics { json, markdown } => print_metrics(json, markdown),
        Command::CheckConfig { file } => {
            match config::read_file(&file).and_then(|config| in_file(&file, config.finish())) {
                Ok(config) => print_config(&config),
                Err(error) => return usage(&error),
            }
        }
    };
    match outcome {
        Ok(()) => ExitCode::from(DONE),
        Err(error) => {
            eprintln!("stemedb-probe: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// Says which file an error is about that only the whole of it has shown.
fn in_file(file: &Path, config: Result<Config, ConfigError>) -> Result<Config, ConfigError> {
    config.map_err(|error| ConfigError(format!("{}: {error}", file.display())))
}

fn usage(error: &ConfigError) -> ExitCode {
    eprintln!("stemedb-probe: {error}");
    ExitCode::from(BAD_USAGE)
}

/// Prints to standard output; a reader that goes away early (`| head`) is not an error.
pub fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

fn print_metrics(json: bool, markdown: bool) -> anyhow::Result<()> {
    let namespace = Config::default().namespace;
    if json {
        return print(&format!("{:#}\n", catalog::json(&namespace)));
    }
    print(&if markdown { catalog::page(&namespace) } else { catalog::text(&namespace) })
}

fn print_config(config: &Config) -> anyhow::Result<()> {
    let mut out = format!("fine: {} target(s), served on http://{}/metrics\n", config.targets.len(), config.listen);
    for target in &config.targets {
        let rules: Vec<String> = target.processes.iter().map(ToString::to_string).collect();
        let profile = target.profile.map_or_else(String::new, |profile| format!("  (profile {})", profile.name));
        out += &format!("target {}: {}{profile}\n", target.name, rules.join(" or "));
        for (class, pattern) in &target.files {
            let missing = matches!(pattern, FilePattern::Directory(path) if !path.is_dir());
            let note = if missing { "  (not there now; the agent would keep looking)" } else { "" };
            out += &format!("  class {class}: {pattern}{note}\n");
        }
    }
    print(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: &[&str]) -> Result<Config, ConfigError> {
        let cli = Cli::try_parse_from([&["stemedb-probe", "run"], args].concat()).unwrap();
        let Command::Run(run) = cli.command else { panic!("not run") };
        run.resolve()
    }

    #[test]
    fn the_table_of_flags_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(
            &file,
            "listen='127.0.0.1:1'\n[[target]]\nname='a'\ncomm='x'\n[target.class]\nwal='/file'\nstore='/s'\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let config =
            resolve(&["--config", file, "--listen", "127.0.0.1:2", "--target", "a:comm=y", "--class", "a:wal=/flag"])
                .unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.targets[0].processes[0].to_string(), "comm=y");
        let classes: Vec<String> =
            config.targets[0].files.iter().map(|(class, pattern)| format!("{class}={pattern}")).collect();
        assert_eq!(classes, ["store=/s", "wal=/flag"]);
    }

    #[test]
    fn a_profile_is_completed_by_flags_and_completes_a_file() {
        let config = resolve(&["--profile", "postgres", "--profile", "b:sqlite", "--target", "b:comm=app"]).unwrap();
        let targets: Vec<_> = config.targets.iter().map(|target| (target.name.as_str(), &target.processes)).collect();
        assert_eq!((targets[0].0, targets[1].0), ("postgres", "b"));
        assert_eq!(targets[1].1[0].to_string(), "comm=app");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[[target]]\nname='db'\nunit='x'\n").unwrap();
        let config = resolve(&["--config", file.to_str().unwrap(), "--profile", "db:etcd"]).unwrap();
        assert_eq!(config.targets[0].processes[0].to_string(), "unit=x");
        assert_eq!(config.targets[0].files.len(), 4);
    }

    #[test]
    fn a_class_alone_is_for_the_default_target() {
        let config = resolve(&["--class", "stemedb:wal=/w"]).unwrap();
        assert_eq!(config.targets[0].processes[0].to_string(), "comm=stemedb");
        assert!(resolve(&["--class", "db:wal=/w"]).unwrap_err().0.contains("no rule for its processes"));
    }
}
