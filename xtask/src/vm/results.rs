//! What is kept of each kernel until the table is whole.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::FOLDER;
use super::column::Column;
use crate::shell;

/// A column, and what it is about.
#[derive(Serialize, Deserialize)]
struct Kept<C> {
    /// The source that was tested.
    source: String,
    column: C,
}

/// Keeps a whole column, in place of the one before. Outside a clone there is no commit that it could be about, and nothing
/// is kept.
pub(crate) fn keep(column: &Column) -> Result<()> {
    let Ok(source) = source() else { return Ok(()) };
    let kept = serde_json::to_string(&Kept { source, column })?;
    let place = place(&column.asked);
    fs::write(&place, kept).with_context(|| place.display().to_string())
}

/// The columns of all these kernels, when each was made from the source as it is now.
pub(crate) fn all(kernels: &[&str]) -> Option<Vec<Column>> {
    let source = source().ok()?;
    let column = |kernel: &&str| {
        let text = fs::read_to_string(place(kernel)).ok()?;
        // One that another version of this program has written is as good as none.
        let kept: Kept<Column> = serde_json::from_str(&text).ok()?;
        (kept.source == source).then_some(kept.column)
    };
    kernels.iter().map(column).collect()
}

fn place(kernel: &str) -> PathBuf {
    shell::root().join(FOLDER).join(kernel).join("result.json")
}

/// The commit, and what has changed since; the documents, which the table is part of, are no matter.
fn source() -> Result<String> {
    let git = |args: &[&str]| shell::capture(shell::command("git").args(args)).context("cannot ask git for the commit");
    let code = [".", ":!docs", ":!*.md"];
    let commit = git(&[&["log", "-1", "--format=%H", "--"], &code[..]].concat())?;
    Ok(commit + &git(&[&["diff", "HEAD", "--"], &code[..]].concat())?)
}
