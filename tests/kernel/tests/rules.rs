//! The rules of deploy/prometheus: their syntax, what they make of series, and that every metric in them is one of ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use stemedb_kernel_tests::binary;
use stemedb_kernel_tests::outcome::Outcome;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus")
}

fn files(ending: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder())?.collect::<std::io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    ensure!(!found.is_empty(), "no file ends in {ending}");
    Ok(found)
}

fn promtool(args: &[&str], file: &Path) -> Result<()> {
    let outcome = Outcome::of(Command::new("promtool").args(args).arg(file))?;
    ensure!(outcome.code == Some(0), "{}: {outcome:?}", file.display());
    Ok(())
}

#[test]
fn promtool_accepts_them() -> Result<()> {
    for file in files(".yml")?.iter().filter(|file| !file.to_string_lossy().ends_with("_test.yml")) {
        promtool(&["check", "rules"], file)?;
    }
    Ok(())
}

#[test]
fn they_make_what_they_should() -> Result<()> {
    files("_test.yml")?.iter().try_for_each(|file| promtool(&["test", "rules"], file))
}

/// A renamed metric breaks this, and not a picture in the field.
#[test]
fn every_metric_is_in_the_catalogue() -> Result<()> {
    let outcome = Outcome::of(Command::new(binary("stemedb-probe")?).args(["metrics", "--json"]))?;
    let metrics: Vec<serde_json::Value> = serde_json::from_str(&outcome.stdout).context("the catalogue")?;
    for file in files("recording.yml")? {
        let text = std::fs::read_to_string(&file)?;
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let words = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| {
            line.split(move |c| !is_part(c)).filter(|word| word.starts_with("stemedb_") && *word != "stemedb_disk")
        });
        let mut seen = 0;
        for word in words {
            let known = metrics.iter().any(|metric| metric["name"] == word);
            ensure!(known, "{}: no metric {word}", file.display());
            seen += 1;
        }
        ensure!(seen > 0, "{}: no metric", file.display());
    }
    Ok(())
}
