use std::path::Path;

use anyhow::Result;
use stemedb_kernel_tests::databases::etcd::Etcd;
use stemedb_kernel_tests::databases::{self, SOON, count_of, within};
use stemedb_kernel_tests::wait_for;

fn class(path: &Path) -> &'static str {
    if ["wal", "wal.tmp"].iter().any(|name| within(path, name)) || path.extension().is_some_and(|e| e == "wal") {
        "wal"
    } else if within(path, "snap") {
        "store"
    } else {
        "other"
    }
}

#[test]
fn etcd_syncs_its_log_as_often_as_it_says() -> Result<()> {
    let agent = databases::agent(&["--profile", "etcd"])?;
    let mut etcd = Etcd::start(50)?;
    for i in 0..120 {
        // "k" and a hundred and fifty zero bytes
        etcd.put("aw==", &"AAAA".repeat(50 + i % 3))?;
    }
    // etcd also counts the sync of the directory above, where a new log's directory has got its name: of class `other`.
    let ops = [("wal", "fdatasync"), ("wal", "fsync"), ("other", "fsync")];
    // What it does in the background may fall between the two questions.
    let (mut own, mut kernel) = (0, 0);
    let agreed = wait_for("etcd's agreement with the kernel", SOON, || {
        own = etcd.metric("etcd_disk_wal_fsync_duration_seconds_count").ok()?;
        let status = agent.status().ok()?;
        kernel = ops.iter().map(|(class, op)| count_of(&status, "etcd", class, op).calls).sum();
        (own == kernel).then_some(())
    });
    agreed.map_err(|error| error.context(format!("etcd counted {own}, the kernel {kernel}")))?;
    let syncs = count_of(&agent.status()?, "etcd", "wal", "fdatasync").calls;
    assert!((120..own).contains(&syncs), "a put is durable on return: {syncs} of {own}");
    etcd.server.stop()?;
    databases::equal(&agent.status()?, "etcd", etcd.path(), class)
}
