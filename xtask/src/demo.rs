//! `cargo xtask demo`: a database-like workload that counts its own calls, watched live by the agent; at the end both
//! counts side by side.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::client::{Client, free_port};
use crate::compare::{self, Report};
use crate::live::Live;
use crate::process::{self, Agent, Workload};
use crate::status::{CLASSES, Status};
use crate::{build, shell};

/// How long, how wide, and where.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long the workload runs
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Threads of the workload
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Directory of the workload's files, which stay there [default: a temporary one in target/]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What both processes print beside their protocol.
const LOG: &str = "target/demo.log";
/// How long a process may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long the workload may take beyond its time.
const END_LIMIT: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

/// How the demo ended.
enum End {
    Compared { equal: bool },
    Interrupted,
}

/// Builds all, then runs the demo.
pub(crate) fn demo(options: &Options) -> Result<ExitCode> {
    build::agent()?;
    build::workload()?;
    // Until here, Ctrl-C ends this program and the build; from here on, there is something to stop and to remove.
    process::catch_signals();
    let target = shell::root().join("target");
    let temporary;
    let dir = if let Some(dir) = &options.dir {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        dir.canonicalize()?
    } else {
        temporary = tempfile::Builder::new().prefix("demo-").tempdir_in(&target)?;
        temporary.path().to_path_buf()
    };
    let log = File::create(shell::root().join(LOG)).with_context(|| format!("cannot write {LOG}"))?;
    match watch(options, &dir, &log) {
        Ok(End::Compared { equal: true }) => Ok(ExitCode::SUCCESS),
        Ok(End::Compared { equal: false }) => Ok(ExitCode::FAILURE),
        Ok(End::Interrupted) => {
            println!("\nstopped before the end: nothing to compare");
            Ok(ExitCode::from(130))
        }
        Err(error) => Err(anyhow!("{error:#}{}", last_words())),
    }
}

/// The last lines of what the processes printed.
fn last_words() -> String {
    let text = fs::read_to_string(shell::root().join(LOG)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let last = &lines[lines.len().saturating_sub(10)..];
    format!("\n{LOG} ends with:\n  {}", last.join("\n  "))
}

fn watch(options: &Options, dir: &Path, log: &File) -> Result<End> {
    let mut command = shell::command(shell::root().join(build::WORKLOAD));
    command.arg("demo").arg("--dir").arg(dir);
    command.args(["--seconds", &options.seconds.to_string(), "--threads", &options.threads.to_string()]);
    let mut workload = Workload::start(command, log)?;
    let Some(ready) = await_line(&workload, START_LIMIT)? else { return Ok(End::Interrupted) };
    let pid: u32 = ready
        .strip_prefix("ready ")
        .and_then(|pid| pid.trim().parse().ok())
        .with_context(|| format!("the workload says `{ready}`, not `ready PID`"))?;

    let client = Client::new(free_port()?);
    let mut agent = Agent::start(shell::root().join(build::AGENT).as_os_str(), &arguments(&client, pid, dir)?, log)?;
    if !client.await_ready(&mut agent)? {
        return Ok(End::Interrupted);
    }

    let mut live = Live::new(client.url("/metrics"), options.seconds);
    let before = client.status()?;
    workload.go()?;
    let limit = Duration::from_secs(options.seconds) + END_LIMIT;
    let Some(counts) = draw(&client, &workload, &mut agent, &mut live, before, limit)? else {
        return Ok(End::Interrupted);
    };
    // The workload still lives: what the agent knows of it is whole.
    let (text, equal) = compare::summary(&client.status()?, &Report::parse(&counts)?);
    println!("\n{text}");
    workload.go()?;
    workload.finish()?;
    agent.finish()?;
    Ok(End::Compared { equal })
}

/// Shows each second until the workload tells its counts; nothing where the user stopped it.
fn draw(
    client: &Client,
    workload: &Workload,
    agent: &mut Agent,
    live: &mut Live,
    mut before: Status,
    limit: Duration,
) -> Result<Option<String>> {
    let start = Instant::now();
    let (mut last, mut next) = (start, start + SECOND);
    loop {
        if let Some(line) = workload.line(Duration::from_millis(50))? {
            return Ok(Some(line));
        }
        if process::stopped() {
            return Ok(None);
        }
        agent.check()?;
        ensure!(start.elapsed() < limit, "the workload does not end");
        let now = Instant::now();
        if now >= next {
            let status = client.status()?;
            live.show(&status.since(&before, (now - last).as_secs_f64()), (now - start).as_secs())?;
            (before, last) = (status, now);
            // A second that was missed is not made up for.
            while next <= now {
                next += SECOND;
            }
        }
    }
}

/// The arguments of an agent that watches one process and two of its directories.
fn arguments(client: &Client, pid: u32, dir: &Path) -> Result<Vec<String>> {
    let mut arguments = vec!["run".into(), "--listen".into(), client.address.clone()];
    arguments.extend(["--target".into(), format!("demo:pid={pid}")]);
    for class in CLASSES {
        let mut value = OsString::from(format!("demo:{class}="));
        value.push(dir.join(class));
        let value = value.into_string().ok().with_context(|| format!("{} is not UTF-8", dir.display()))?;
        arguments.extend(["--class".into(), value]);
    }
    Ok(arguments)
}

/// The next line of the workload; nothing where the user stopped it.
fn await_line(workload: &Workload, limit: Duration) -> Result<Option<String>> {
    let start = Instant::now();
    while !process::stopped() {
        if let Some(line) = workload.line(Duration::from_millis(50))? {
            return Ok(Some(line));
        }
        ensure!(start.elapsed() < limit, "the workload says nothing within {} s", limit.as_secs());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_watches_the_workload_and_both_directories() {
        let arguments = arguments(&Client::new(1234), 42, Path::new("/data dir")).unwrap();
        let expected = "run|--listen|127.0.0.1:1234|--target|demo:pid=42|--class|demo:wal=/data dir/wal|--class|demo:store=/data \
             dir/store";
        assert_eq!(arguments.join("|"), expected);
    }
}
