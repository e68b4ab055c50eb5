//! Which eBPF objects there are in the kernel, and who holds them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

/// What an id is of; ids of different kinds are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A program.
    Program,
    /// A link, which attaches a program.
    Link,
    /// A map.
    Map,
}

/// A set of ids.
pub type Ids = BTreeSet<(Kind, u32)>;

/// Everything that is loaded now. What ends while this looks is left out.
pub fn loaded() -> Ids {
    let programs = aya::programs::loaded_programs().flatten().map(|program| (Kind::Program, program.id()));
    let links = aya::programs::loaded_links().flatten().map(|link| (Kind::Link, link.id()));
    let maps = aya::maps::loaded_maps().flatten().map(|map| (Kind::Map, map.id()));
    programs.chain(links).chain(maps).collect()
}

/// What a process has open.
pub fn held_by(pid: u32) -> Result<Ids> {
    let mut out = Ids::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        out.extend(ids_of(&entry?.path()));
    }
    Ok(out)
}

/// What any process has open.
fn held() -> Ids {
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok());
    pids.filter_map(|pid| held_by(pid).ok()).flatten().collect()
}

fn ids_of(fdinfo: &Path) -> Ids {
    let text = std::fs::read_to_string(fdinfo).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let ids = lines.filter_map(|(key, value)| {
        let kind = match key {
            "prog_id" => Kind::Program,
            "link_id" => Kind::Link,
            "map_id" => Kind::Map,
            _ => return None,
        };
        Some((kind, value.trim().parse().ok()?))
    });
    ids.collect()
}

/// What is there now, was not there before, and is open in no process: pinned, or leaked.
pub fn left_since(before: &Ids) -> Ids {
    let new: Ids = loaded().difference(before).copied().collect();
    // Another agent on this host may have loaded something in between.
    new.difference(&held()).copied().collect()
}
