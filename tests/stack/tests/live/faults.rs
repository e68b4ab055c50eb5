//! Faults: each is made, told to whom it should be, and mended. Ends that take a while are waited for at the end of all.

use std::fs::remove_file;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use stemedb_kernel_tests::block::Device;
use stemedb_kernel_tests::fs::{Mount, run};
use stemedb_kernel_tests::throttle::{Limit, Throttle};
use stemedb_stack::Stack;

use crate::scene::{DISK, Scene, Told};

/// The node that things happen to.
const ALONE: usize = 2;

/// A disk that writes so many bios a second: so few that each of three nodes waits for more than an eighth of a second, and so many that the share of
/// slow calls grows soon enough.
const SLOW: Limit = Limit::Operations(18);

/// A disk is slow: the budget of the log burns, and the time of its syncs is the disk's.
pub(crate) fn slow_disk(scene: &mut Scene) -> Vec<Told> {
    scene.before("a disk is slow", &["WALFsyncSlow", "WALFsyncBurnFast"]);
    let slow = Throttle::new(&Device::below(scene.below.path()).unwrap(), SLOW).unwrap();
    scene.stack.nodes.values().try_for_each(|node| slow.process(node.pid())).unwrap();
    scene
        .until("WALFsyncSlow fires", |scene| scene.stack.firing().ok()?.contains(&"WALFsyncSlow".into()).then_some(()));
    let burn = scene.told("WALFsyncBurnFast");
    let (of_disk, whole) = ("{phase=~\"device|flush|queue|journal\"}", "");
    let seconds = |phases: &str| format!("sum(increase(stemedb_wal_fsync_phase_seconds_total{phases}[20s]))");
    let share = scene.stack.query(&format!("{} / {}", seconds(of_disk), seconds(whole))).unwrap();
    let share: f64 = share[0]["value"][1].as_str().unwrap().parse().unwrap();
    scene.say(&format!("{:.1} % of the time in syncs of the log is the disk's and the journal's", share * 100.0));
    assert!(share > 0.8, "it is the disk");
    drop(slow);
    vec![burn]
}

/// A node is killed and comes back.
pub(crate) fn node_killed(scene: &mut Scene) {
    scene.before("a node is killed", &["StemeDBAPIDown"]);
    scene.stack.nodes.remove(&Stack::name(ALONE)).unwrap().kill().unwrap();
    let trigger = scene.told("StemeDBAPIDown");
    let summary = &trigger.event["payload"]["summary"];
    assert!(summary.as_str().unwrap().contains("does not answer"), "{summary}");
    scene.stack.start_node(ALONE).unwrap();
    scene.resolved(&trigger);
}

/// Clients send nonsense.
pub(crate) fn bad_requests(scene: &mut Scene) -> Vec<Told> {
    scene.before("clients send nonsense", &["HighAPIErrorRate"]);
    scene.stack.start_load(0.3).unwrap();
    let trigger = scene.told("HighAPIErrorRate");
    scene.stack.start_load(0.002).unwrap();
    vec![trigger]
}

/// The agent ends.
pub(crate) fn agent_stopped(scene: &mut Scene) -> Vec<Told> {
    scene.before("the agent is stopped", &["ProbeDown"]);
    scene.stack.agent = None;
    let trigger = scene.told("ProbeDown");
    scene.stack.start_agent().unwrap();
    vec![trigger]
}

/// A disk fills up: the critical alert comes, and the warning on the same matter does not.
pub(crate) fn full_disk(scene: &mut Scene) {
    scene.before("a disk is full", &["WALDiskNearlyFull", "WALDiskUsageHigh"]);
    let filled = scene.disk.path().join("filled");
    run("fallocate", &["-l".as_ref(), (DISK * 4 / 5).to_string().as_ref(), filled.as_os_str()]).unwrap();
    let trigger = scene.told("WALDiskNearlyFull");
    scene.until("WALDiskUsageHigh fires", |scene| {
        scene.stack.firing().ok()?.contains(&"WALDiskUsageHigh".to_owned()).then_some(())
    });
    // Longer than Alertmanager waits for company of a warning.
    thread::sleep(scene.paced(Duration::from_mins(1)));
    assert_eq!(scene.slack("#stemedb-alerts-warning", "WALDiskUsageHigh", "FIRING"), [], "it is inhibited");
    assert!(scene.events("WALDiskUsageHigh", "trigger").is_empty(), "it is inhibited");
    remove_file(filled).unwrap();
    scene.resolved(&trigger);
}

/// A node is cut off from the others, though not from Prometheus.
pub(crate) fn partition(scene: &mut Scene) -> Vec<Told> {
    scene.before(
        "a node is cut off from the others",
        &["ClusterSplitBrain", "ReplicationLagWarning", "ReplicationLagCritical"],
    );
    scene.network.cut(u8::try_from(ALONE).unwrap()).unwrap();
    let split = scene.told("ClusterSplitBrain");
    let warning = scene.told("ReplicationLagWarning");
    let lag = scene.told("ReplicationLagCritical");
    scene.network.heal(u8::try_from(ALONE).unwrap()).unwrap();
    vec![split, warning, lag]
}

/// A node gets a disk of its own, and that fails: what it is given is not written. It gets a new one, and the others give it what it had.
pub(crate) fn failing_disk(scene: &mut Scene) -> Vec<Told> {
    let own = Mount::failing("1g", "512m").unwrap();
    move_to(scene, own.path().join("data"));
    scene.before("a disk fails", &["DiskErrors", "WALFsyncFailure"]);
    own.fail().unwrap();
    let all = ["DiskErrors", "WALFsyncFailure"].map(|name| scene.told(name));
    move_to(scene, scene.disk.path().join("new disk"));
    all.into()
}

/// Moves the node to an empty folder, and waits until the others have given it all they have.
fn move_to(scene: &mut Scene, data: PathBuf) {
    // It may have ended by itself.
    drop(scene.stack.nodes.remove(&Stack::name(ALONE)));
    scene.stack.move_node(ALONE, data);
    scene.stack.start_node(ALONE).unwrap();
    scene.until("the new disk has what the old one had", |scene| {
        let metrics = scene.stack.get(&format!("http://{}/metrics", scene.stack.node(ALONE))).ok()?;
        let compared = metrics.lines().filter(|line| line.starts_with("stemedb_cluster_converged{"));
        compared.map(|line| line.ends_with(" 1")).eq([true, true]).then_some(())
    });
}
