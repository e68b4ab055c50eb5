//! `cargo xtask docs`: docs/metrics.md, from the catalogues of the agent and of `stemedb-metrics`.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use stemedb_metrics::{NAMESPACE, catalog};

use crate::{build, shell};

const FILE: &str = "docs/metrics.md";

/// Builds the agent; writes the file, or with `check` compares it.
pub(crate) fn command(check: bool) -> Result<ExitCode> {
    build::agent()?;
    if check {
        compare()?;
        println!("{FILE} is up to date");
    } else {
        fs::write(shell::root().join(FILE), generated()?).with_context(|| format!("cannot write {FILE}"))?;
        println!("wrote {FILE}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares the file with the catalogue of the agent that is built.
pub(crate) fn compare() -> Result<()> {
    let path = shell::root().join(FILE);
    let there = fs::read_to_string(path).with_context(|| format!("no {FILE}: run `cargo xtask docs`"))?;
    if let Some(difference) = difference(&there, &generated()?) {
        bail!("{FILE} is stale, run `cargo xtask docs`: {difference}");
    }
    Ok(())
}

fn generated() -> Result<String> {
    let agent = shell::capture(shell::command(shell::root().join(build::AGENT)).args(["metrics", "--markdown"]))?;
    Ok(format!(
        "{agent}\n## In the database's process\n\nFrom `stemedb-metrics/src/catalog.rs`, beside the usual `process_*`. Latency buckets are those \
         above.\n\n{}",
        catalog::markdown(NAMESPACE)
    ))
}

/// The first line that differs.
fn difference(there: &str, wanted: &str) -> Option<String> {
    if there == wanted {
        return None;
    }
    let (mut have, mut want) = (there.lines(), wanted.lines());
    for number in 1_usize.. {
        match (have.next(), want.next()) {
            (None, None) => break,
            (one, other) if one == other => {}
            (one, other) => {
                let [one, other] = [one, other].map(|line| line.unwrap_or("(end)"));
                return Some(format!("line {number} is `{one}`, the catalogue says `{other}`"));
            }
        }
    }
    Some("the ends of lines differ".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n").unwrap(), "line 2 is `b`, the catalogue says `c`");
        assert_eq!(difference("a\n", "a\nc\n").unwrap(), "line 2 is `(end)`, the catalogue says `c`");
        assert_eq!(difference("a", "a\n").unwrap(), "the ends of lines differ");
    }
}
