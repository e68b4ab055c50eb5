//! How large the kernel side is: what no noise touches. A program that grows takes longer for each event, and longer to start.
//! Figures of programs depend on the kernel that translates them, and are compared on kernels like the one of the recorded ones; those
//! of maps are compared everywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use stemedb_kernel_tests::agent::Agent;
use stemedb_kernel_tests::golden;

/// The file with the recorded figures.
const GOLDEN: &str = "sizes.txt";
/// What a figure may grow by unasked.
const MORE: f64 = 1.1;
/// Less than this is no growth worth a word.
const SMALL: u64 = 40;

/// Figures by what they are of.
type Sizes = BTreeMap<String, u64>;

/// The lines of a fdinfo that have a number.
fn numbers(text: &str) -> BTreeMap<&str, u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.filter_map(|(key, value)| Some((key, value.trim().parse().ok()?))).collect()
}

/// Of the programs and maps that a process has open. The kernel keeps 15 bytes of a name.
fn sizes(pid: u32) -> Result<Sizes> {
    let mut programs = BTreeMap::new();
    for program in aya::programs::loaded_programs().flatten() {
        let size = u64::from(program.size_translated().context("no size")?) / 8;
        programs.insert(u64::from(program.id()), (program.name_as_str().unwrap_or("?").to_owned(), size));
    }
    let maps: BTreeMap<u64, String> = aya::maps::loaded_maps()
        .flatten()
        .map(|map| (u64::from(map.id()), map.name_as_str().unwrap_or("?").to_owned()))
        .collect();
    let mut out = Sizes::new();
    // Of programs and maps whose names are alike so far, the larger one.
    let mut add = |what: String, size: u64| {
        let known = out.entry(what).or_insert(size);
        *known = size.max(*known);
    };
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        let numbers = numbers(&text);
        if let Some((name, size)) = numbers.get("prog_id").and_then(|id| programs.get(id)) {
            add(format!("instructions of {name}"), *size);
            if let Some(verified) = numbers.get("verified_insns") {
                add(format!("instructions that the verifier looks at for {name}"), *verified);
            }
        } else if let Some(name) = numbers.get("map_id").and_then(|id| maps.get(id)) {
            let [key, value, entries] = ["key_size", "value_size", "max_entries"].map(|one| numbers.get(one).copied());
            let each = key.context("no key_size")? + value.context("no value_size")?;
            // Of a ring, the entries are bytes.
            add(format!("bytes of {name}"), entries.context("no max_entries")? * each.max(1));
        }
    }
    Ok(out)
}

/// `x.y` of the kernel's release.
fn kernel() -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(release.split('.').take(2).collect::<Vec<_>>().join("."))
}

fn text(kernel: &str, sizes: &Sizes) -> String {
    let mut text = format!("Linux {kernel}\n");
    for (what, size) in sizes {
        let _ = writeln!(text, "{size:>10} {what}");
    }
    text
}

fn parse(text: &str) -> Result<(String, Sizes)> {
    let mut lines = text.lines();
    let kernel = lines.next().and_then(|line| line.strip_prefix("Linux ")).context("no kernel")?.to_owned();
    let pairs = lines.map(|line| {
        let (size, what) = line.trim_start().split_once(' ').context("no size")?;
        Ok((what.to_owned(), size.parse()?))
    });
    Ok((kernel, pairs.collect::<Result<_>>()?))
}

/// What has grown, and what is new.
fn grown(recorded: &Sizes, now: &Sizes) -> Vec<String> {
    let one = |(what, size): (&String, &u64)| match recorded.get(what) {
        None => Some(format!("{what}: {size}, and was not there")),
        Some(was) if *size as f64 > *was as f64 * MORE && *size > was + SMALL => {
            Some(format!("{what}: {size}, and was {was}"))
        }
        Some(_) => None,
    };
    now.iter().filter_map(one).collect()
}

#[test]
fn nothing_has_grown_unasked() -> Result<()> {
    // One of each kind of rule, so that nothing is left out.
    let rules = ["t:comm=no-such-name", "t:exe=/no/such/*", "t:cgroup=/no/such/*"];
    let mut arguments: Vec<String> =
        rules.iter().flat_map(|rule| ["--target".to_owned(), (*rule).to_owned()]).collect();
    arguments.extend(["--class".to_owned(), "t:wal=/nonexistent".to_owned()]);
    let agent = Agent::start(&arguments)?;
    let (kernel, mut sizes) = (kernel()?, sizes(agent.pid())?);
    if golden::is_updated() {
        return golden::compare(GOLDEN, &text(&kernel, &sizes));
    }
    let (of, recorded) = parse(&golden::read(GOLDEN)?)?;
    if of != kernel {
        sizes.retain(|what, _| what.starts_with("bytes of "));
    }
    ensure!(sizes.len() > 10, "{sizes:?}");
    let grown = grown(&recorded, &sizes);
    ensure!(
        grown.is_empty(),
        "if that is what it takes, set UPDATE_GOLDEN=1 and say why in the commit:\n  {}",
        grown.join("\n  ")
    );
    Ok(())
}

#[test]
fn a_tenth_more_is_growth() -> Result<()> {
    let sizes = |size| Sizes::from([("instructions of x".to_owned(), size)]);
    assert!(grown(&sizes(1_000), &sizes(1_100)).is_empty() && grown(&sizes(1_000), &sizes(500)).is_empty());
    assert_eq!(grown(&sizes(1_000), &sizes(1_101)), ["instructions of x: 1101, and was 1000"]);
    assert_eq!(grown(&Sizes::new(), &sizes(1)), ["instructions of x: 1, and was not there"]);
    assert_eq!(parse(&text("6.18", &sizes(7)))?, ("6.18".to_owned(), sizes(7)));
    Ok(())
}
