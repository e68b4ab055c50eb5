//! Redis with an append-only file that is synced before each answer.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{SOON, Server, output};
use crate::{strace, wait_for};

/// A server on a socket in a temporary folder.
pub struct Redis {
    /// The server; dropped before its folder.
    pub server: Server,
    dir: TempDir,
}

impl Redis {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = strace::command(dir.path(), "redis-server");
        command.args(["--port", "0", "--unixsocket", "socket", "--save", "", "--dir"]).arg(dir.path());
        command.args(["--appendonly", "yes", "--appendfsync", "always"]).current_dir(dir.path());
        let server = Server::start(command, dir.path(), libc::SIGTERM)?;
        let mut redis = Self { server, dir };
        let socket = redis.path().join("socket");
        redis
            .server
            .ready("Redis' start", || output(Command::new("redis-cli").arg("-s").arg(&socket).arg("ping")).ok())?;
        Ok(redis)
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn client(&self, program: &str, args: &[&str]) -> Result<String> {
        output(Command::new(program).arg("-s").arg(self.path().join("socket")).args(args))
    }

    /// A number of `INFO persistence`.
    pub fn info(&self, key: &str) -> Result<u64> {
        let text = self.client("redis-cli", &["info", "persistence"])?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        Ok(value.with_context(|| format!("no {key} in {text}"))?.trim().parse()?)
    }

    /// Runs `redis-benchmark`.
    pub fn bench(&self, args: &[&str]) -> Result<()> {
        self.client("redis-benchmark", args).map(|_| ())
    }

    /// Has a child write the log anew, and waits for it.
    pub fn rewrite_log(&self) -> Result<()> {
        let rewrites = self.info("aof_rewrites")?;
        self.client("redis-cli", &["bgrewriteaof"])?;
        wait_for("the log's rewrite", SOON, || {
            let done = self.info("aof_rewrites").ok()? > rewrites && self.info("aof_rewrite_in_progress").ok()? == 0;
            done.then_some(())
        })
    }
}
