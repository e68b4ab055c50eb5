//! The live view of the demo.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Result;

use crate::status::Row;
use crate::view::{self, Screen};

/// Seconds in a sparkline.
const HISTORY: usize = 40;

/// A view of each second; lines where nothing can be redrawn.
pub(crate) struct Live {
    url: String,
    total: u64,
    redraws: bool,
    screen: Screen,
    /// The p99 of sync calls in each of the last seconds, by class.
    history: BTreeMap<String, VecDeque<Option<f64>>>,
}

impl Live {
    /// A view of `total` seconds, of the agent whose metrics are at `url`.
    pub(crate) fn new(url: String, total: u64) -> Self {
        Self { url, total, redraws: Screen::redraws(), screen: Screen::default(), history: BTreeMap::new() }
    }

    /// Shows the last second.
    pub(crate) fn show(&mut self, rows: &[Row], elapsed: u64) -> Result<()> {
        for row in rows {
            let seconds = self.history.entry(row.class.clone()).or_default();
            seconds.push_back(row.quantiles[1]);
            if seconds.len() > HISTORY {
                seconds.pop_front();
            }
        }
        if !self.redraws {
            println!("{elapsed:>3} s  {}", view::compact(rows));
            return Ok(());
        }
        let mut lines = vec![
            format!("The workload's last second, as the kernel saw it: {elapsed} of {} s", self.total),
            format!("All metrics: {}", self.url),
            String::new(),
        ];
        lines.extend(view::live_tables(rows, |class| self.sparkline(class)));
        Ok(self.screen.draw(&lines)?)
    }

    fn sparkline(&self, class: &str) -> String {
        let seconds: Vec<Option<f64>> = self.history.get(class).into_iter().flatten().copied().collect();
        view::sparkline(&seconds)
    }
}
