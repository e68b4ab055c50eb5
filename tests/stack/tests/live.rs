//! Real faults make real alerts, and the right people hear of them: in the real Prometheus and Alertmanager, ten times as fast.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use stemedb_kernel_tests::fs::{Mount, run};
use stemedb_kit::alerts;
use stemedb_stack::config::Pace;
use stemedb_stack::receiver::Service;
use stemedb_stack::{Options, Stack};

/// Bytes of the file system that all of it is on.
const IMAGE: u64 = 2 << 30;
/// A generous limit for what takes seconds at this pace.
const LIMIT: Duration = Duration::from_mins(3);

/// Alerts that are no false ones where this machine's disk is slow, or its kernel keeps programs from running: both are the machine's own affair.
const OF_THE_MACHINE: [&str; 10] = [
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

/// Alerts that fire, but for those of the machine.
fn alarms(stack: &Stack) -> Vec<String> {
    let mut firing = stack.firing().unwrap();
    firing.retain(|name| !OF_THE_MACHINE.contains(&name.as_str()));
    firing
}

fn until<T>(what: &str, stack: &mut Stack, mut look: impl FnMut(&Stack) -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look(stack) {
            return found;
        }
        let state = || format!("{:?}; told: {:#?}", stack.firing(), stack.receiver.messages());
        assert!(begin.elapsed() < LIMIT, "{what} does not come; firing: {}", state());
        thread::sleep(Duration::from_millis(200));
    }
}

/// Events at PagerDuty on an alert, of a kind.
fn events(stack: &Stack, alert: &str, action: &str) -> Vec<Value> {
    let of_it = |event: &Value| {
        let named = event["payload"]["class"] == alert || event["payload"].is_null();
        event["event_action"] == action && (named || action == "resolve")
    };
    let all = stack.receiver.messages().into_iter().filter(|message| message.service == Service::PagerDuty);
    all.map(|message| message.body).filter(of_it).collect()
}

/// Messages in a channel of Slack on an alert: their colour, and whom they mention.
fn slack(stack: &Stack, channel: &str, alert: &str, status: &str) -> Vec<(String, String)> {
    let all = stack.receiver.messages().into_iter().filter(|message| message.service == Service::Slack);
    let of_it = all.map(|message| message.body).filter(|body| {
        let title = body["attachments"][0]["title"].as_str().unwrap_or_default();
        body["channel"] == channel && title.starts_with(&format!("[{status}")) && title.contains(&format!(" {alert}: "))
    });
    let parts = |body: Value| {
        let text = |key: &str| body["attachments"][0][key].as_str().unwrap_or_default().to_owned();
        assert!(text("title_link").ends_with(&format!("/deploy/runbooks/{alert}.md")), "{body}");
        (text("color"), text("pretext"))
    };
    of_it.map(parts).collect()
}

#[test]
#[ignore = "runs the agent, hence as root: `cargo xtask test` runs it"]
fn faults_make_alerts_and_the_right_people_hear_of_them() {
    let mount = Mount::image(&IMAGE.to_string(), "mkfs.ext4", &["-q", "-F"]).unwrap();
    let options = Options { folder: mount.path().to_owned(), nodes: 3, usual_ports: false, pace: Pace::Fast, rate: 60 };
    let mut stack = Stack::start(options).unwrap();
    stack.start_load(0.002).unwrap();
    // What would be done within a minute.
    stack.post(&format!("http://{}/v1/admin/decay", stack.node(0))).unwrap();

    // Everything that rules ask for is exported by something that runs.
    until("the first figures", &mut stack, |stack| {
        let has = |name: &str| stack.query(name).is_ok_and(|samples| !samples.is_empty());
        let names = ["stemedb:wal_fsync_slow:ratio_rate5m", "stemedb_trust_rank_decay_last_run_timestamp_seconds"];
        names.into_iter().all(has).then_some(())
    });
    every_selector_has_series(&stack);

    // A while in which all is well, once the nodes that have joined are old news.
    until("quiet", &mut stack, |stack| alarms(stack).is_empty().then_some(()));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        stack.check().unwrap();
        assert_eq!(alarms(&stack), Vec::<String>::new(), "a false alarm");
        thread::sleep(Duration::from_millis(500));
    }

    // A node is killed: PagerDuty gets an event with high urgency, Slack a message in red to the channel.
    stack.nodes.remove("node-3").unwrap().kill().unwrap();
    let trigger = until("an event on the node", &mut stack, |stack| {
        events(stack, "StemeDBAPIDown", "trigger").into_iter().next()
    });
    assert_eq!(
        (&trigger["routing_key"], &trigger["payload"]["severity"]),
        (&"high-urgency".into(), &"critical".into())
    );
    assert!(trigger["links"][0]["href"].as_str().unwrap().ends_with("/deploy/runbooks/StemeDBAPIDown.md"), "{trigger}");
    assert!(trigger["payload"]["summary"].as_str().unwrap().contains("does not answer"), "{trigger}");
    let message = until("a message on the node", &mut stack, |stack| {
        slack(stack, "#stemedb-alerts-critical", "StemeDBAPIDown", "FIRING").into_iter().next()
    });
    assert_eq!(message, ("#d00000".to_owned(), "<!channel>".to_owned()));
    // It comes back: the same event is resolved.
    stack.start_node(2).unwrap();
    let resolve = until("the end of the event", &mut stack, |stack| {
        let all = events(stack, "StemeDBAPIDown", "resolve");
        all.into_iter().find(|event| event["dedup_key"] == trigger["dedup_key"])
    });
    assert_eq!(resolve["routing_key"], "high-urgency");
    until("the end of the message", &mut stack, |stack| {
        slack(stack, "#stemedb-alerts-critical", "StemeDBAPIDown", "RESOLVED").into_iter().next()
    });

    // Clients send nonsense: a warning.
    stack.start_load(0.3).unwrap();
    let trigger = until("an event on errors", &mut stack, |stack| {
        events(stack, "HighAPIErrorRate", "trigger").into_iter().next()
    });
    assert_eq!((&trigger["routing_key"], &trigger["payload"]["severity"]), (&"low-urgency".into(), &"warning".into()));
    let message = until("a message on errors", &mut stack, |stack| {
        slack(stack, "#stemedb-alerts-warning", "HighAPIErrorRate", "FIRING").into_iter().next()
    });
    assert_eq!(message, ("#ff8c00".to_owned(), "<!here>".to_owned()));
    stack.start_load(0.002).unwrap();

    // The agent ends.
    stack.agent = None;
    until("an event on the agent", &mut stack, |stack| events(stack, "ProbeDown", "trigger").into_iter().next());
    stack.start_agent().unwrap();
    until("quiet again", &mut stack, |stack| alarms(stack).is_empty().then_some(()));
    // The disk fills up: the critical alert comes, and the warning on the same matter does not.
    let filled = mount.path().join("filled");
    run("fallocate", &["-l".as_ref(), (IMAGE * 4 / 5).to_string().as_ref(), filled.as_os_str()]).unwrap();
    let trigger = until("an event on the disk", &mut stack, |stack| {
        events(stack, "WALDiskNearlyFull", "trigger").into_iter().next()
    });
    assert_eq!(trigger["routing_key"], "high-urgency");
    until("the warning, in Prometheus", &mut stack, |stack| {
        stack.firing().ok()?.contains(&"WALDiskUsageHigh".to_owned()).then_some(())
    });
    thread::sleep(Duration::from_secs(10));
    assert_eq!(slack(&stack, "#stemedb-alerts-warning", "WALDiskUsageHigh", "FIRING"), [], "it is inhibited");
    assert_eq!(events(&stack, "WALDiskUsageHigh", "trigger"), Vec::<Value>::new());
    std::fs::remove_file(filled).unwrap();
    until("the end of it", &mut stack, |stack| {
        let all = events(stack, "WALDiskNearlyFull", "resolve");
        all.into_iter().find(|event| event["dedup_key"] == trigger["dedup_key"])
    });

    // Information is for those who want it: it never calls anybody.
    let informed =
        stack.receiver.messages().into_iter().filter(|message| message.body["channel"] == "#stemedb-alerts-info");
    for message in informed {
        let attachment = &message.body["attachments"][0];
        assert!(attachment["pretext"].as_str().unwrap_or_default().is_empty(), "{}", message.body);
    }
}

/// Each metric that an alert looks at has samples now, but for those that only faults make.
fn every_selector_has_series(stack: &Stack) {
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
    let missing: Vec<&String> = names.iter().filter(|name| stack.query(name).unwrap().is_empty()).collect();
    assert!(missing.is_empty() && names.len() > 20, "nothing exports {missing:?}");
}
