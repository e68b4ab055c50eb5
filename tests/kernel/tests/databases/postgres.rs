use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::databases::postgres::{Cluster, WalStatistics};
use stemedb_kernel_tests::databases::{self, SOON, count_of, within};
use stemedb_kernel_tests::wait_for;

const LOAD: &[&str] = &["--no-vacuum", "-c", "4", "-j", "2", "-t", "50"];

fn class(path: &Path) -> &'static str {
    let store = ["base", "global"].iter().any(|name| within(path, name));
    if within(path, "pg_wal") {
        "wal"
    } else if store {
        "store"
    } else {
        "other"
    }
}

/// What the kernel and PostgreSQL have counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    kernel: (u64, u64),
    own: WalStatistics,
}

impl Figures {
    /// Writes to the log, and syncs of it by `ops`.
    fn read(agent: &Agent, cluster: &Cluster, ops: &[&str]) -> Result<Self> {
        let own = cluster.wal_statistics()?;
        let status = agent.status()?;
        let calls = |op: &str| count_of(&status, "postgres", "wal", op).calls;
        Ok(Self { kernel: (calls("pwrite64"), ops.iter().map(|op| calls(op)).sum()), own })
    }

    /// Waits until both have counted the same since `before`. PostgreSQL's processes report what they have done some time
    /// later; neither count goes back, and nothing is written any more when both are complete.
    fn agree(agent: &Agent, cluster: &Cluster, ops: &[&str], before: Option<Self>) -> Result<WalStatistics> {
        let base =
            before.map_or((0, 0), |b| (b.kernel.0.wrapping_sub(b.own.writes), b.kernel.1.wrapping_sub(b.own.syncs)));
        let mut last = None;
        let agreed = wait_for("pg_stat_wal's agreement with the kernel", SOON, || {
            let now = Self::read(agent, cluster, ops).ok()?;
            last = Some(now);
            let difference = (now.kernel.0.wrapping_sub(now.own.writes), now.kernel.1.wrapping_sub(now.own.syncs));
            (difference == base).then_some(now.own)
        });
        agreed.with_context(|| format!("writes and syncs, last {last:?}, before {before:?}"))
    }

    /// Waits until nothing has happened for a while.
    fn at_rest(agent: &Agent, cluster: &Cluster, ops: &[&str]) -> Result<Self> {
        let mut before = None;
        wait_for("rest", SOON, || {
            let now = Self::read(agent, cluster, ops).ok();
            let rest = now.filter(|_| now == before);
            before = now;
            // Longer than a process of PostgreSQL keeps its figures to itself.
            std::thread::sleep(Duration::from_millis(1500));
            rest
        })
    }
}

fn counts_as_it_does_itself(method: &str, syncs: &[&str]) -> Result<()> {
    let cluster = Cluster::new(None)?;
    let agent = databases::agent(&["--profile", "postgres"])?;
    let mut server = cluster.start(&[&format!("wal_sync_method={method}")])?;
    cluster.bench(&["-i", "-q", "-s", "1"])?;
    cluster.bench(LOAD)?;
    let own = Figures::agree(&agent, &cluster, syncs, None)?;
    assert!(own.writes >= 50, "{own:?}");
    assert_eq!(own.syncs >= 50, !syncs.is_empty(), "{own:?}");
    let written = count_of(&agent.status()?, "postgres", "wal", "pwrite64").bytes;
    assert!(written >= own.bytes, "{written} bytes written hold {} of records", own.bytes);
    server.stop()?;
    let durable = (method == "open_datasync").then_some(("wal", "pwrite64"));
    databases::equal_with(&agent.status()?, "postgres", cluster.path(), class, durable)
}

#[test]
fn postgres_with_fdatasync() -> Result<()> {
    counts_as_it_does_itself("fdatasync", &["fdatasync"])
}

#[test]
fn postgres_with_open_datasync() -> Result<()> {
    counts_as_it_does_itself("open_datasync", &[])
}

#[test]
fn postgres_with_its_log_elsewhere() -> Result<()> {
    let ops = &["fdatasync"];
    let cluster = Cluster::new(Some("elsewhere"))?;
    let agent = databases::agent(&["--profile", "postgres"])?;
    let mut server = cluster.start(&["wal_sync_method=fdatasync"])?;
    let link = cluster.path().join("data/pg_wal").display().to_string();
    let found = wait_for("the directory behind the symbolic link", SOON, || {
        agent.status().ok()?.classes.into_iter().find(|class| class.pattern == link && class.found)
    })?;
    assert_eq!((found.class.as_str(), found.origin.contains("working directory")), ("wal", true), "{found:?}");
    let before = Figures::at_rest(&agent, &cluster, ops)?;
    cluster.bench(&["-i", "-q", "-s", "1"])?;
    cluster.bench(LOAD)?;
    let own = Figures::agree(&agent, &cluster, ops, Some(before))?;
    assert!(own.syncs >= 50 && own.writes >= 50, "{own:?}");
    let segments = || agent.status().ok()?.classes.into_iter().find(|class| class.pattern == link)?.files;
    wait_for("the number of segments", SOON, || segments().filter(|files| *files > 0))?;
    server.stop()
}
