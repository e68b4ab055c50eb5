//! What Prometheus reads: the text, its names, and what a real Prometheus makes of it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::exposition::{Family, Sample, parse};
use stemedb_kernel_tests::load::{Load, renamed};
use stemedb_kernel_tests::outcome::Outcome;
use stemedb_kernel_tests::prometheus::{Prometheus, promtool_complaints};
use stemedb_kernel_tests::{binary, golden, wait_for, web};
use stemedb_workload::{Op, Tally};
use tempfile::TempDir;

/// A generous limit for what takes seconds.
const SOON: Duration = Duration::from_mins(1);
/// What Prometheus asks for.
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
/// Promtool's rule for `_count`, against the name that operators have asked for.
const ASKED_FOR: &[&str] = &[
    "stemedb_file_segments_count non-histogram and non-summary metrics should not have \"_count\" suffix",
    "stemedb_wal_segments_count non-histogram and non-summary metrics should not have \"_count\" suffix",
];

/// An agent with the class directories `wal` and `store`, for processes of a name that nothing else has.
struct Scene {
    agent: Agent,
    dir: TempDir,
    name: &'static str,
}

impl Scene {
    fn new(name: &'static str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let [wal, store, _] = ["wal", "store", "elsewhere"].map(|class| dir.path().join(class));
        std::fs::create_dir(&wal)?;
        std::fs::create_dir(&store)?;
        let agent = Agent::watch(&format!("comm={name}"), &[("wal", &wal), ("store", &store)])?;
        let scene = Self { agent, dir, name };
        // Directories are measured on a thread of their own.
        wait_for("the first measurement", SOON, || {
            scene.text("").ok().filter(|text| text.contains("_disk_usage_bytes"))
        })?;
        Ok(scene)
    }

    fn path(&self, class: &str) -> String {
        self.dir.path().join(class).display().to_string()
    }

    fn load(&self, args: &[String]) -> Result<Load> {
        let mut command = renamed(self.dir.path(), OsStr::new(self.name))?;
        command.args(args);
        Load::start_command(command)
    }

    /// Calls of every operation in three classes.
    fn activity(&self) -> Result<Tally> {
        let mut args = ["exact", "--calls", "4000", "--threads", "2", "--processes", "2"].map(str::to_owned).to_vec();
        for (class, dir) in [("wal", "wal"), ("store", "store"), ("other", "elsewhere")] {
            args.extend(["--dir".to_owned(), format!("{class}={}", self.path(dir))]);
        }
        self.load(&args)?.run()
    }

    fn text(&self, accept: &str) -> Result<String> {
        self.agent.get("/metrics", accept)
    }
}

#[test]
fn promtool_finds_nothing() -> Result<()> {
    let scene = Scene::new("promtool-load")?;
    let quiet = scene.text("")?;
    scene.activity()?;
    for text in [quiet, scene.text("")?] {
        let complaints = promtool_complaints(&text)?;
        let others: Vec<&String> = complaints.iter().filter(|line| !ASKED_FOR.contains(&line.as_str())).collect();
        assert!(others.is_empty(), "{others:#?}");
    }
    Ok(())
}

#[test]
fn openmetrics() -> Result<()> {
    let scene = Scene::new("open-load")?;
    scene.activity()?;
    let plain = web::request(scene.agent.address(), "GET", "/metrics", "")?;
    let open = web::request(scene.agent.address(), "GET", "/metrics", OPENMETRICS)?;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.body.ends_with("\n# EOF\n") && !plain.body.contains("# EOF") && !plain.body.contains("# UNIT"));
    let (plain, open) = (steady(&plain.body)?, steady(&open.body)?);
    assert_eq!(plain.len(), open.len());
    for (plain, open) in plain.iter().zip(&open) {
        same_but_for_the_name(plain, open).with_context(|| plain.name.clone())?;
    }
    Ok(())
}

/// What changes only when the load does something: all but the disks, which the whole machine uses.
fn steady(text: &str) -> Result<Vec<Family>> {
    let mut families = parse(text)?;
    families.retain(|family| !family.name.starts_with("stemedb_disk_"));
    Ok(families)
}

/// Demands that a family is the same in both formats, but for the ending of a counter's name.
fn same_but_for_the_name(plain: &Family, open: &Family) -> Result<()> {
    let name =
        if plain.kind == "counter" { plain.name.strip_suffix("_total").context("no _total")? } else { &plain.name };
    ensure!((name, &plain.kind, &plain.help) == (open.name.as_str(), &open.kind, &open.help), "{open:?}");
    let lines = |family: &Family| family.samples.iter().map(|s| (s.name.clone(), s.labels.clone())).collect::<Vec<_>>();
    ensure!(lines(plain) == lines(open), "the samples differ");
    let steady = plain.name.starts_with("stemedb_wal_") || plain.name.starts_with("stemedb_file_");
    ensure!(!steady || plain.samples == open.samples, "the values differ");
    Ok(())
}

#[test]
fn histograms_are_whole() -> Result<()> {
    let scene = Scene::new("histogram-load")?;
    scene.activity()?;
    let families = parse(&scene.text("")?)?;
    let histograms = families.iter().filter(|family| family.kind == "histogram");
    assert!(histograms.clone().count() >= 10);
    histograms.into_iter().try_for_each(|family| whole(family).with_context(|| family.name.clone()))
}

/// Demands of each histogram of a family that buckets rise to the count, in bounds and in numbers.
fn whole(family: &Family) -> Result<()> {
    let (mut bound, mut number) = (f64::NEG_INFINITY, 0.0);
    for sample in &family.samples {
        if let Some(le) = sample.label("le") {
            let le: f64 = le.parse()?;
            ensure!(le > bound && sample.value >= number, "{sample:?}");
            (bound, number) = (le, sample.value);
        } else if sample.name.ends_with("_count") {
            ensure!(bound.is_infinite() && (sample.value - number).abs() < 0.5, "{sample:?}");
            (bound, number) = (f64::NEG_INFINITY, 0.0);
        }
    }
    ensure!(bound.is_sign_negative(), "the last histogram has no count");
    Ok(())
}

#[test]
fn the_exposition_is_what_the_catalogue_says() -> Result<()> {
    let scene = Scene::new("catalogue-load")?;
    scene.activity()?;
    let listed: Value = serde_json::from_str(&Outcome::of_probe(&["metrics", "--json"])?.stdout)?;
    // Those of disks are shown where there is one that fails: tests/block/metrics.rs.
    let of_disks = |row: &&Value| row["name"].as_str().is_some_and(|name| name.starts_with("stemedb_disk_"));
    let listed: Vec<&Value> = listed.as_array().context("no list")?.iter().filter(|row| !of_disks(row)).collect();
    let families = steady(&scene.text("")?)?;
    // With calls in three classes, two of which have directories, there is a sample of every metric.
    let names = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(
        names(families.iter().map(|family| family.name.as_str()).collect()),
        names(listed.iter().filter_map(|row| row["name"].as_str()).collect()),
    );
    for row in listed {
        let family = families.iter().find(|family| row["name"] == family.name.as_str()).context("no such family")?;
        assert_eq!((&row["type"], &row["help"]), (&family.kind.clone().into(), &family.help.clone().into()));
        for sample in &family.samples {
            let labels: Vec<&str> =
                sample.labels.iter().map(|(name, _)| name.as_str()).filter(|n| *n != "le").collect();
            assert_eq!(row["labels"], Value::from(labels), "{sample:?}");
        }
    }
    Ok(())
}

#[test]
fn a_real_prometheus_reads_it() -> Result<()> {
    let scene = Scene::new("scraped-load")?;
    let prometheus = Prometheus::start(scene.agent.address())?;
    prometheus.wait_for_value("up", SOON, |up| up > 0.5)?;
    let args = ["hold", "--threads", "2", "--class", "wal", "--dir", &scene.path("wal")].map(str::to_owned);
    let mut load = scene.load(&args)?;
    load.go()?;
    let quantile = "histogram_quantile(0.99, rate(stemedb_wal_fsync_latency_seconds_bucket[1m]))";
    let p99 = prometheus.wait_for_value(quantile, SOON, |seconds| seconds > 0.0)?;
    assert!(p99 < 60.0, "an fdatasync of {p99} s");
    load.stop()?;
    let tally: Tally = serde_json::from_value(load.json()?)?;
    for (query, expected) in [
        ("sum(stemedb_wal_writes_total)", tally.calls("wal", Op::Write)),
        ("sum(stemedb_wal_bytes_written_total)", tally.bytes("wal", Op::Write)),
        ("sum(stemedb_wal_fsync_latency_seconds_count{op=\"fdatasync\"})", tally.calls("wal", Op::Fdatasync)),
        ("sum(stemedb_probe_lost_total{reason!=\"missed_completion\"})", 0),
    ] {
        prometheus.wait_for_value(query, SOON, |value| (value - expected as f64).abs() < 0.5)?;
    }
    // No scrape has ever failed, in either format.
    prometheus.wait_for_value("min_over_time(up[5m])", SOON, |up| up > 0.5)?;
    Ok(())
}

#[test]
fn golden_metrics() -> Result<()> {
    let scene = Scene::new("no-such-process")?;
    let families = steady(&scene.text("")?)?;
    let mut out = String::new();
    for family in &families {
        writeln!(out, "# HELP {} {}\n# TYPE {} {}", family.name, family.help, family.name, family.kind)?;
        for sample in &family.samples {
            writeln!(out, "{}", without_what_varies(sample))?;
            let of_files = family.name.starts_with("stemedb_wal_") || family.name.starts_with("stemedb_file_");
            // An empty directory may take space, and is on a file system.
            let is_of_disk = ["_disk_usage_bytes", "_filesystem_size_bytes", "_filesystem_available_bytes"];
            let is_of_disk = is_of_disk.iter().any(|end| family.name.ends_with(end));
            let zero = !of_files || is_of_disk || sample.value == 0.0;
            assert!(zero, "nothing has happened: {sample:?}");
        }
    }
    golden::compare("metrics.txt", &out)
}

/// The name and the labels, without the values of those that depend on where this runs.
fn without_what_varies(sample: &Sample) -> String {
    let varies = ["version", "kernel", "directory", "hook"];
    let label = |(name, value): &(String, String)| {
        let value = if varies.contains(&name.as_str()) { name.to_uppercase() } else { value.clone() };
        format!("{name}=\"{value}\"")
    };
    let labels: Vec<String> = sample.labels.iter().map(label).collect();
    if labels.is_empty() { sample.name.clone() } else { format!("{}{{{}}}", sample.name, labels.join(",")) }
}

#[test]
fn golden_help() -> Result<()> {
    let top = help(&["--help"])?;
    let mut out = format!("$ stemedb-probe --help\n{top}");
    let listed = top.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Descriptions that are wrapped are indented further.
    let names = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let names: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        write!(out, "\n$ stemedb-probe {name} --help\n{}", help(&[name, "--help"])?)?;
    }
    golden::compare("help.txt", &out)
}

fn help(args: &[&str]) -> Result<String> {
    let outcome = Outcome::of(Command::new(binary("stemedb-probe")?).args(args).env("COLUMNS", "100"))?;
    ensure!(outcome.code == Some(0) && outcome.stderr.is_empty(), "{outcome:?}");
    Ok(outcome.stdout)
}
