//! Real faults make real alerts, the right people hear of them, and the boards show them: with the real Prometheus, Alertmanager and Chromium.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod faults;
mod scene;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use stemedb_kernel_tests::netns::Network;
use stemedb_kit::alerts::{self, Severity};
use stemedb_stack::config::Pace;

use scene::Scene;

/// The folder for pictures of the boards, instead of a temporary one.
const PICTURES: &str = "STEMEDB_PICTURES";

/// How many minutes (of production) have to pass without an alarm before the first fault, instead of ten.
const CLEAN: &str = "STEMEDB_CLEAN_MINUTES";

/// Alerts that are no false ones where a tenth of a window is all there is: one hiccup of the machine, its disk or its kernel is a share of it.
const OF_A_SHORT_WINDOW: &[&str] = &[
    "APISlowDiskFast",
    "DiskFlushSlow",
    "DiskSlowAPIFast",
    "HighAPILatency",
    "HighMemoryUsage",
    "IndexLookupSlow",
    "ProbeSamplesLost",
    "WALFsyncBurnFast",
    "WALFsyncBurnSlow",
    "WALFsyncSlow",
];

#[test]
#[ignore = "runs the agent, hence as root, for some minutes: `cargo xtask test` runs it"]
fn ten_times_as_fast() {
    in_a_network(Pace::Fast);
}

#[test]
#[ignore = "runs the agent, hence as root, for an hour: `cargo xtask live-test` runs it"]
fn at_production_pace() {
    in_a_network(Pace::Real);
}

/// In a network of its own, of which all but the nodes is the hub.
fn in_a_network(pace: Pace) {
    let network = Arc::new(Network::new(3).unwrap());
    network.hub().unwrap().run(|| everything(&network, pace)).unwrap();
}

fn everything(network: &Arc<Network>, pace: Pace) {
    let mut scene = Scene::start(network, pace);
    // What would be done within a minute.
    scene.stack.post(&format!("http://{}/v1/admin/decay", scene.stack.node(0))).unwrap();
    let pictures = std::env::var_os(PICTURES).map_or_else(|| scene.folder().join("pictures"), PathBuf::from);

    scene.until("the first figures", |scene| {
        let has = |name: &str| scene.stack.query(name).is_ok_and(|samples| !samples.is_empty());
        let names = ["stemedb:wal_fsync_slow:ratio_rate5m", "stemedb_trust_rank_decay_last_run_timestamp_seconds"];
        names.into_iter().all(has).then_some(())
    });
    no_false_alarm(&mut scene);

    let mut ends = faults::slow_disk(&mut scene);
    // The disk at a glance, beside the time before it was slow.
    scene.stack.draw("correlation", scene.minutes(), &pictures.join("slow-disk")).unwrap();
    // Its end is told last: half an hour after the last error, so that everybody has been called.
    ends.extend(faults::failing_disk(&mut scene));
    faults::node_killed(&mut scene);
    ends.extend(faults::agent_stopped(&mut scene));
    faults::full_disk(&mut scene);
    ends.extend(faults::bad_requests(&mut scene));
    ends.extend(faults::partition(&mut scene));
    for told in &ends {
        scene.resolved(told);
    }

    every_selector_has_series(&scene);
    every_query_has_series(&scene, &pictures);
    nobody_is_called_for_information(&scene);
    scene.say("done");
}

/// A while in which all is well, once the nodes that have joined are old news.
fn no_false_alarm(scene: &mut Scene) {
    let but: &[&str] = if scene.pace == Pace::Fast { OF_A_SHORT_WINDOW } else { &[] };
    scene.until("quiet", |scene| scene.firing_but(but).is_empty().then_some(()));
    let minutes = std::env::var(CLEAN).ok().and_then(|text| text.parse().ok());
    let otherwise = if scene.pace == Pace::Fast { 3 } else { 10 };
    let (begin, clean) = (Instant::now(), scene.paced(Duration::from_mins(minutes.unwrap_or(otherwise))));
    while begin.elapsed() < clean {
        scene.stack.check().unwrap();
        assert_eq!(scene.firing_but(but), Vec::<String>::new(), "a false alarm");
        thread::sleep(Duration::from_millis(500));
    }
    scene.say(&format!("no alarm for {} s; of the machine: {:?}", clean.as_secs(), scene.firing_but(&[])));
}

/// Each metric that an alert looks at has samples now, but for those that only faults make.
fn every_selector_has_series(scene: &Scene) {
    let only_faults = ["stemedb_disk_errors_total", "stemedb_writeback_errors_total"];
    let mut names = BTreeSet::new();
    for alert in alerts::all() {
        let words = alert.expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        names.extend(words.filter(|word| word.starts_with("stemedb_")).map(str::to_owned));
    }
    // Of an operator who has neither keys nor certificates there is nothing to tell.
    names.retain(|name| {
        !name.contains("api_key") && !name.contains("certificate") && !only_faults.contains(&name.as_str())
    });
    let missing: Vec<&String> = names.iter().filter(|name| scene.stack.query(name).unwrap().is_empty()).collect();
    assert!(missing.is_empty() && names.len() > 20, "nothing exports {missing:?}");
}

/// Each query and each variable of each board gives something, and Grafana's components draw it.
fn every_query_has_series(scene: &Scene, pictures: &Path) {
    let drawn = scene.stack.draw("", scene.minutes(), pictures).unwrap();
    assert_eq!(drawn.len(), stemedb_kit::dashboards::all().len());
    for (name, board) in &drawn {
        let picture = pictures.join(format!("{name}.png"));
        let bytes = picture.metadata().unwrap().len();
        scene.say(&format!("{name}: {} queries, {bytes} bytes of picture", board.asked.len()));
        assert_eq!(board.problems(), Vec::<String>::new(), "{name}");
        assert!(board.asked.len() > 10 && bytes > 50_000, "{name} is nearly empty");
    }
}

/// Information is for those who want it: it never calls anybody.
fn nobody_is_called_for_information(scene: &Scene) {
    let all = scene.stack.receiver.messages();
    let called = |name: &str| all.iter().any(|message| message.body["payload"]["class"] == name);
    for alert in alerts::all().into_iter().filter(|alert| alert.severity == Severity::Info) {
        assert!(!called(alert.name), "{} is no reason to call anybody", alert.name);
    }
    let informed: Vec<_> = all.iter().filter(|message| message.body["channel"] == "#stemedb-alerts-info").collect();
    assert!(!informed.is_empty(), "nodes have joined");
    for message in informed {
        let attachment = &message.body["attachments"][0];
        assert!(attachment["pretext"].as_str().unwrap_or_default().is_empty(), "{}", message.body);
    }
}
