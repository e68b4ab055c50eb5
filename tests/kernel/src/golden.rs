//! Texts that are kept in `golden/`, and change only on purpose.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Whether files are written and not compared.
pub fn is_updated() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// What a file holds.
pub fn read(name: &str) -> Result<String> {
    let path = path(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// Fails where the text is not what the file holds; with `UPDATE_GOLDEN=1` writes the file instead.
pub fn compare(name: &str, text: &str) -> Result<()> {
    let path = path(name);
    if is_updated() {
        return std::fs::write(&path, text).with_context(|| path.display().to_string());
    }
    let golden = read(name)?;
    if golden == text {
        return Ok(());
    }
    let differs = |a: &str, b: &str| {
        a.lines()
            .filter(|line| !b.lines().any(|other| other == *line))
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join("\n  ")
    };
    bail!(
        "{name} has changed; if that is right, set UPDATE_GOLDEN=1 and look at the difference\ngone:\n  {}\nnew:\n  {}\n(if both are empty, the order has changed)",
        differs(&golden, text),
        differs(text, &golden)
    )
}
