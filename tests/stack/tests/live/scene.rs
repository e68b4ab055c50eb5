//! The stack with disks and a network of its own that can be hurt, and what is told to whom.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use stemedb_kernel_tests::fs::Mount;
use stemedb_kernel_tests::netns::Network;
use stemedb_kit::alerts::{self, Severity};
use stemedb_stack::config::Pace;
use stemedb_stack::receiver::Service;
use stemedb_stack::{Options, Stack};
use tempfile::TempDir;

/// Bytes of the disk that all nodes are on.
pub(crate) const DISK: u64 = 2 << 30;

/// All of it; the stack goes before what it stands on.
pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) pace: Pace,
    pub(crate) network: Arc<Network>,
    pub(crate) disk: Mount,
    /// What that disk stands on: it is as slow as this.
    pub(crate) below: Mount,
    begin: Instant,
    /// How many messages there were before what goes on now.
    before: usize,
    folder: TempDir,
}

impl Scene {
    /// Starts it, with a load.
    pub(crate) fn start(network: &Arc<Network>, pace: Pace) -> Self {
        let below = Mount::image(&(2 * DISK).to_string(), "mkfs.ext4", &["-q", "-F"]).unwrap();
        let disk = Mount::on(&below, &DISK.to_string()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            folder: folder.path().to_owned(),
            data: (0..3).map(|number| disk.path().join(Stack::name(number))).collect(),
            network: Some(Arc::clone(network)),
            usual_ports: false,
            pace,
            // Fewer in the longer time: what has been fast before a disk is slow counts, too.
            rate: if pace == Pace::Fast { 30 } else { 10 },
        };
        let stack = Stack::start(options).unwrap();
        let begin = Instant::now();
        let mut scene = Self { stack, pace, network: Arc::clone(network), disk, below, begin, before: 0, folder };
        scene.stack.start_load(0.002).unwrap();
        scene
    }

    /// As long as something takes at this pace that takes so long in production.
    pub(crate) fn paced(&self, time: Duration) -> Duration {
        if self.pace == Pace::Fast { time / 10 } else { time }
    }

    /// A folder that goes with the scene.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Minutes since it began.
    pub(crate) fn minutes(&self) -> f64 {
        self.begin.elapsed().as_secs_f64() / 60.0
    }

    /// Says what is going on, with the time since the beginning.
    pub(crate) fn say(&self, what: &str) {
        println!("{:6.1} s  {what}", self.begin.elapsed().as_secs_f64());
    }

    /// Waits until none of some alerts fires, and the end of each that has is told: Alertmanager tells nothing of one that ends and begins again in
    /// between. What is told from now on comes of what is done next.
    pub(crate) fn before(&mut self, fault: &str, alerts: &[&str]) {
        self.until(&format!("none of {alerts:?} fires"), |scene| {
            let firing = scene.stack.firing().ok()?;
            (!firing.iter().any(|name| alerts.contains(&name.as_str())) && !scene.is_open(alerts)).then_some(())
        });
        self.before = self.stack.receiver.messages().len();
        self.say(fault);
    }

    /// Whether PagerDuty has been told of an alert, and not of its end.
    fn is_open(&self, alerts: &[&str]) -> bool {
        let mut open = BTreeSet::new();
        for message in self.stack.receiver.messages() {
            let (event, key) = (&message.body, message.body["dedup_key"].as_str().unwrap_or_default().to_owned());
            if event["event_action"] == "resolve" {
                open.remove(&key);
            } else if event["payload"]["class"].as_str().is_some_and(|class| alerts.contains(&class)) {
                open.insert(key);
            }
        }
        !open.is_empty()
    }

    /// What has been told since then to a service.
    fn messages(&self, service: Service) -> impl Iterator<Item = Value> + use<> {
        let all = self.stack.receiver.messages().into_iter().skip(self.before);
        all.filter(move |message| message.service == service).map(|message| message.body)
    }

    /// Waits until something is there.
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let (begin, limit) = (Instant::now(), self.paced(Duration::from_mins(45)));
        loop {
            if let Some(found) = look(self) {
                self.say(what);
                return found;
            }
            let state = || format!("{:?}; told: {:#?}", self.stack.firing(), self.stack.receiver.messages());
            assert!(begin.elapsed() < limit, "not within {limit:?}: {what}; firing: {}", state());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Alerts that fire, but for some.
    pub(crate) fn firing_but(&self, but: &[&str]) -> Vec<String> {
        let mut firing = self.stack.firing().unwrap();
        firing.retain(|name| !but.contains(&name.as_str()));
        firing
    }

    /// Waits until those who should be are told of an alert; information is for Slack alone.
    pub(crate) fn told(&mut self, name: &'static str) -> Told {
        let alert = alerts::all().into_iter().find(|alert| alert.name == name).unwrap();
        let (channel, look, urgency) = match alert.severity {
            Severity::Critical => ("#stemedb-alerts-critical", ("#d00000", "<!channel>"), "high-urgency"),
            Severity::Warning => ("#stemedb-alerts-warning", ("#ff8c00", "<!here>"), "low-urgency"),
            Severity::Info => panic!("nobody is called for {name}"),
        };
        let event =
            self.until(&format!("{name}: PagerDuty is told"), |scene| scene.events(name, "trigger").into_iter().next());
        assert_eq!(
            (&event["routing_key"], &event["payload"]["severity"]),
            (&urgency.into(), &alert.severity.word().into())
        );
        assert!(runbook(&event["links"][0]["href"], name), "{event}");
        let message = self
            .until(&format!("{name}: Slack is told"), |scene| scene.slack(channel, name, "FIRING").into_iter().next());
        assert_eq!((message.0.as_str(), message.1.as_str()), look, "{name}");
        Told { name, channel, before: self.before, event }
    }

    /// Waits until the end of an alert is told: to PagerDuty with the key of its beginning, to Slack in green, and nobody is called.
    pub(crate) fn resolved(&mut self, told: &Told) {
        let (name, before) = (told.name, std::mem::replace(&mut self.before, told.before));
        let resolve = self.until(&format!("{name}: PagerDuty is told of its end"), |scene| {
            let all = scene.events(name, "resolve");
            all.into_iter().find(|event| event["dedup_key"] == told.event["dedup_key"])
        });
        assert_eq!(resolve["routing_key"], told.event["routing_key"]);
        let message = self.until(&format!("{name}: Slack is told of its end"), |scene| {
            scene.slack(told.channel, name, "RESOLVED").into_iter().next()
        });
        assert_eq!((message.0.as_str(), message.1.as_str()), ("#2eb67d", ""), "{name}");
        self.before = before;
    }

    /// Events at PagerDuty on an alert, of a kind. (Those that resolve do not say of what.)
    pub(crate) fn events(&self, alert: &str, action: &str) -> Vec<Value> {
        let of_it = |event: &Value| {
            event["event_action"] == action && (event["payload"]["class"] == alert || action == "resolve")
        };
        self.messages(Service::PagerDuty).filter(of_it).collect()
    }

    /// Messages in a channel of Slack on an alert: their colour, and whom they mention.
    pub(crate) fn slack(&self, channel: &str, alert: &str, status: &str) -> Vec<(String, String)> {
        let of_it = self.messages(Service::Slack).filter(|body| {
            let title = body["attachments"][0]["title"].as_str().unwrap_or_default();
            let of_alert = title.starts_with(&format!("[{status}")) && title.contains(&format!(" {alert}: "));
            body["channel"] == channel && of_alert
        });
        let parts = |body: Value| {
            let text = |key: &str| body["attachments"][0][key].as_str().unwrap_or_default().to_owned();
            assert!(runbook(&body["attachments"][0]["title_link"], alert), "{body}");
            (text("color"), text("pretext"))
        };
        of_it.map(parts).collect()
    }
}

/// What was told of an alert.
pub(crate) struct Told {
    name: &'static str,
    channel: &'static str,
    /// How many messages there were before its fault.
    before: usize,
    /// PagerDuty's event.
    pub(crate) event: Value,
}

fn runbook(link: &Value, alert: &str) -> bool {
    link.as_str().is_some_and(|link| link.ends_with(&format!("/deploy/runbooks/{alert}.md")))
}
