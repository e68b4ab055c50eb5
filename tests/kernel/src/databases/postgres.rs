//! PostgreSQL 15, which refuses to be root: it runs as the package's user.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{Server, output};
use crate::strace;

/// Where Debian has the programs.
const BIN: &str = "/usr/lib/postgresql/15/bin";
const USER: &str = "postgres";

/// A cluster in a temporary folder, which its user owns.
pub struct Cluster {
    dir: TempDir,
    user: u32,
    group: u32,
}

/// A row of `pg_stat_wal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalStatistics {
    /// Calls that wrote from its buffers to the log.
    pub writes: u64,
    /// Calls that synced the log.
    pub syncs: u64,
    /// Bytes of log records; what is written is whole pages.
    pub bytes: u64,
}

impl Cluster {
    /// Makes one with empty statistics; `wal` is where its log is in the temporary folder, if not in the data directory.
    pub fn new(wal: Option<&str>) -> Result<Self> {
        let (user, group) = user()?;
        let dir = tempfile::tempdir()?;
        chown(dir.path(), Some(user), Some(group))?;
        let cluster = Self { dir, user, group };
        // Not synced: that takes long, and the tests do not pull the plug.
        let init = ["--no-sync", "--auth=trust", "--username", USER, "--pgdata"];
        let mut initdb = cluster.program("initdb");
        initdb.args(init).arg(cluster.data());
        if let Some(wal) = wal {
            initdb.arg("--waldir").arg(cluster.path().join(wal));
        }
        output(&mut initdb)?;
        std::fs::remove_file(cluster.data().join("pg_stat/pgstat.stat"))?;
        Ok(cluster)
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn as_user(&self, mut command: Command) -> Command {
        command.uid(self.user).gid(self.group).current_dir(self.path());
        command
    }

    fn program(&self, name: &str) -> Command {
        self.as_user(Command::new(Path::new(BIN).join(name)))
    }

    /// Starts the server, and waits until it answers.
    pub fn start(&self, settings: &[&str]) -> Result<Server> {
        let mut command = self.as_user(strace::command(self.path(), &format!("{BIN}/postgres")));
        command.arg("-D").arg(self.data()).arg("-k").arg(self.path());
        for setting in ["listen_addresses="].iter().chain(settings) {
            command.args(["-c", setting]);
        }
        // A fast shutdown.
        let mut server = Server::start(command, self.path(), libc::SIGINT)?;
        server.ready("PostgreSQL's start", || self.query("select 1").ok())?;
        Ok(server)
    }

    fn client(&self, name: &str) -> Command {
        let mut command = self.program(name);
        command.arg("-h").arg(self.path()).args(["-U", USER]);
        command
    }

    /// Rows of a query, fields separated by `|`.
    pub fn query(&self, sql: &str) -> Result<String> {
        output(self.client("psql").args(["-X", "-A", "-t", "-c", sql, "postgres"]))
    }

    /// Runs `pgbench`.
    pub fn bench(&self, args: &[&str]) -> Result<String> {
        output(self.client("pgbench").args(args).arg("postgres"))
    }

    /// Its own figures about the WAL; those of a session are complete when it has ended, those of others soon after.
    pub fn wal_statistics(&self) -> Result<WalStatistics> {
        let row = self.query("select wal_write, wal_sync, wal_bytes from pg_stat_wal")?;
        let fields: Vec<u64> = row.trim().split('|').map(str::parse).collect::<Result<_, _>>().context(row.clone())?;
        let [writes, syncs, bytes] = fields[..] else { anyhow::bail!("not three fields: {row}") };
        Ok(WalStatistics { writes, syncs, bytes })
    }
}

/// User and group, from passwd(5).
fn user() -> Result<(u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd")?;
    let line = text.lines().find(|line| line.split(':').next() == Some(USER));
    let mut fields =
        line.context("no user postgres: `cargo xtask setup --tests` installs the package")?.split(':').skip(2);
    let mut number = || fields.next().context("a short line in /etc/passwd")?.parse().map_err(anyhow::Error::from);
    Ok((number()?, number()?))
}
