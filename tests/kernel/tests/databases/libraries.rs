use std::path::Path;

use anyhow::{Context, Result};
use stemedb_kernel_tests::databases::{self, count_of};
use stemedb_kernel_tests::outcome::Outcome;
use stemedb_kernel_tests::strace;

#[test]
fn rocksdb_with_synced_writes() -> Result<()> {
    fn class(path: &Path) -> &'static str {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "log" if name.starts_with("0000") => "wal",
            "sst" => "store",
            "dbtmp" => "manifest",
            _ if name.starts_with("MANIFEST-") || name == "CURRENT" => "manifest",
            _ => "other",
        }
    }
    let dir = tempfile::tempdir()?;
    let agent = databases::agent(&["--profile", "rocksdb", "--target", "rocksdb:comm=db_bench"])?;
    let mut command = strace::command(dir.path(), "db_bench");
    command.args(["--benchmarks=fillrandom,flush", "--num=500", "--threads=2", "--sync=1", "--statistics"]);
    // Small, so that logs follow one another and tables are written.
    command.arg("--write_buffer_size=65536").arg(format!("--db={}", dir.path().join("db").display()));
    let outcome = Outcome::of(&mut command)?;
    let status = agent.status()?;
    databases::equal(&status, "rocksdb", dir.path(), class)?;
    let own = outcome.stdout.lines().find_map(|line| line.strip_prefix("rocksdb.wal.synced COUNT : "));
    let own: u64 = own.with_context(|| format!("{outcome:?}"))?.trim().parse()?;
    assert!(own >= 500, "{own}");
    let syncs = count_of(&status, "rocksdb", "wal", "fdatasync").calls;
    assert_eq!(syncs, own, "RocksDB's own count of syncs of its log");
    assert!(count_of(&status, "rocksdb", "store", "fdatasync").calls > 0, "no table was written");
    Ok(())
}

#[test]
fn sqlite_with_a_wal_and_with_a_journal() -> Result<()> {
    fn class(path: &Path) -> &'static str {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match () {
            () if name.ends_with("-wal") => "wal",
            () if name.ends_with("-journal") => "journal",
            () if name.ends_with(".db") => "store",
            () => "other",
        }
    }
    const ROWS: u64 = 100;
    let dir = tempfile::tempdir()?;
    let agent = databases::agent(&["--profile", "sqlite", "--target", "sqlite:comm=sqlite3"])?;
    let inserts = "insert into t values(1);".repeat(usize::try_from(ROWS)?);
    let mut command = strace::command(dir.path(), "sqlite3");
    command.arg(dir.path().join("x.db"));
    command.arg(format!("create table t(a); {inserts} pragma journal_mode=wal; {inserts} pragma wal_checkpoint;"));
    let outcome = Outcome::of(&mut command)?;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let status = agent.status()?;
    for class in ["wal", "journal", "store"] {
        let syncs = count_of(&status, "sqlite", class, "fdatasync").calls;
        assert!(syncs >= ROWS, "{class}: {syncs}");
    }
    databases::equal(&status, "sqlite", dir.path(), class)
}
