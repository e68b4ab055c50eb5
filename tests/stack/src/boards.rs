//! Grafana's boards, drawn from what the stack's Prometheus has (tests/boards).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{Stack, config};

/// What came of drawing a board.
#[derive(Debug, Deserialize)]
pub struct Drawn {
    /// Its queries.
    pub asked: Vec<Asked>,
    /// What users choose from.
    pub variables: Vec<Choice>,
    /// What is wrong with it.
    pub mistakes: Vec<String>,
}

/// A query of a panel, and how many series it gave.
#[derive(Debug, Deserialize)]
pub struct Asked {
    /// The panel's title.
    pub panel: String,
    /// The query.
    pub expr: String,
    /// How many series it gave.
    pub series: usize,
    /// What Prometheus said of it.
    pub error: Option<String>,
}

/// A variable and its values.
#[derive(Debug, Deserialize)]
pub struct Choice {
    /// What users read.
    pub label: String,
    /// What they choose from.
    pub values: Vec<String>,
}

impl Stack {
    /// Draws boards whose names end so, of so many minutes up to now, as PNG files in a folder.
    pub fn draw(&self, boards: &str, minutes: f64, to: &Path) -> Result<BTreeMap<String, Drawn>> {
        let mut node = Command::new("node");
        node.arg(config::deploy().join("../tests/boards/draw.mjs")).arg("--to").arg(to);
        node.args(["--board", boards]);
        node.args(["--prometheus", &format!("http://{}", self.prometheus_address), "--minutes", &minutes.to_string()]);
        node.args(["--scrape", self.options.pace.interval().trim_end_matches('s')]);
        let output = node.stdin(Stdio::null()).output();
        let output = output.context("cannot run node; `cargo xtask setup --tests` installs it")?;
        ensure!(output.status.success(), "no boards: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("draw.mjs tells something else than what it drew")
    }
}

impl Drawn {
    /// What is wrong: mistakes, queries and variables that give nothing.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let empty = self.asked.iter().filter(|asked| asked.series == 0).map(|Asked { panel, expr, error, .. }| {
            format!("panel {panel:?}: nothing comes of {expr}: {}", error.as_deref().unwrap_or("no series"))
        });
        let void = self.variables.iter().filter(|choice| choice.values.is_empty());
        let void = void.map(|choice| format!("nothing to choose from: {}", choice.label));
        self.mistakes.iter().cloned().chain(empty).chain(void).collect()
    }
}
