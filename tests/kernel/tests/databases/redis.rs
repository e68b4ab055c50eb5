use std::path::Path;

use anyhow::Result;
use stemedb_kernel_tests::databases::redis::Redis;
use stemedb_kernel_tests::databases::{self, count_of, within};

fn class(path: &Path) -> &'static str {
    match path.extension() {
        _ if within(path, "appendonlydir") => "wal",
        Some(ending) if ending == "aof" => "wal",
        Some(ending) if ending == "rdb" => "store",
        _ => "other",
    }
}

#[test]
fn redis_with_a_sync_for_each_answer() -> Result<()> {
    let agent = databases::agent(&["--profile", "redis"])?;
    let mut redis = Redis::start()?;
    let figures = || -> Result<(u64, u64)> {
        Ok((redis.info("aof_current_size")?, count_of(&agent.status()?, "redis", "wal", "write").bytes))
    };
    let (own_before, before) = figures()?;
    redis.bench(&["-q", "-n", "1000", "-c", "4", "-t", "set,lpush"])?;
    let (own, written) = figures()?;
    assert!(own - own_before > 1000);
    assert_eq!(written - before, own - own_before, "bytes that were added to the log");
    let syncs = count_of(&agent.status()?, "redis", "wal", "fdatasync").calls;
    assert!(syncs >= 2 * 1000 / 4, "each client waits for a sync: {syncs}");
    redis.rewrite_log()?;
    redis.bench(&["-q", "-n", "500", "-c", "4", "-t", "incr"])?;
    redis.server.stop()?;
    databases::equal(&agent.status()?, "redis", redis.path(), class)
}
