//! What a board is made of, and how Grafana writes it (schema version 39, Grafana 11).

use serde_json::{Value, json};

use super::panel::Panel;

/// A link, of a panel or of a series to a page, or of a board to all that have our tag.
pub(super) fn link(kind: &str, title: &str, url: &str) -> Value {
    let is_board = kind == "dashboards";
    json!({
        "type": kind, "title": title, "url": url, "targetBlank": !is_board, "icon": if is_board { "external link" } else { "doc" }, "tooltip": "",
        "tags": if is_board { vec![TAG] } else { Vec::new() }, "asDropdown": false, "includeVars": is_board, "keepTime": is_board,
    })
}

/// A board.
#[derive(Debug, Clone)]
pub struct Board {
    /// What links call it.
    pub uid: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it answers.
    pub about: &'static str,
    /// How often it asks.
    pub refresh: &'static str,
    /// Variables beside the data source.
    pub variables: Vec<Variable>,
    /// Its rows: a title, and panels from left to right.
    pub rows: Vec<(&'static str, Vec<Panel>)>,
}

/// A variable that users choose values of: those of a label.
#[derive(Debug, Clone)]
pub struct Variable {
    /// What it is called.
    pub name: &'static str,
    /// What users read.
    pub label: &'static str,
    /// Where its values come from.
    pub values: String,
}

impl Variable {
    fn json(&self) -> Value {
        json!({
            "type": "query", "name": self.name, "label": self.label,
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "query": { "query": self.values, "refId": "values" }, "definition": self.values,
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "hide": 0,
            "current": { "text": ["All"], "value": ["$__all"] }, "options": [], "regex": "", "skipUrlSync": false,
        })
    }
}

/// What all boards have in common in their links.
const TAG: &str = "stemedb";

impl Board {
    /// As Grafana imports it.
    #[must_use]
    pub fn json(&self, runbooks: &str) -> Value {
        let mut panels = Vec::new();
        let mut y = 0;
        for (title, row) in &self.rows {
            panels.push(json!({
                "id": panels.len() + 1, "type": "row", "title": title, "collapsed": false, "panels": [],
                "gridPos": { "x": 0, "y": y, "w": 24, "h": 1 },
            }));
            y += 1;
            for line in lines(row) {
                let (mut x, tallest) = (0, line.iter().map(|panel| panel.height).max().unwrap_or_default());
                for panel in line {
                    panels.push(panel.json(panels.len() + 1, (x, y), tallest, runbooks));
                    x += panel.width;
                }
                y += tallest;
            }
        }
        let source = json!({
            "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1, "hide": 0,
            "multi": false, "includeAll": false, "options": [], "regex": "", "skipUrlSync": false, "current": { "text": "", "value": "" },
        });
        let variables: Vec<Value> = std::iter::once(source).chain(self.variables.iter().map(Variable::json)).collect();
        json!({
            "uid": self.uid, "title": self.title, "description": self.about, "tags": [TAG], "schemaVersion": 39, "version": 1,
            "editable": true, "graphTooltip": 1, "refresh": self.refresh, "timezone": "browser", "weekStart": "",
            "fiscalYearStartMonth": 0, "liveNow": false, "preload": false, "id": null,
            "time": { "from": "now-1h", "to": "now" }, "timepicker": {},
            "annotations": { "list": [] }, "templating": { "list": variables }, "panels": panels,
            "links": [link("dashboards", "StemeDB", "")],
        })
    }
}

/// Panels that stand beside each other.
fn lines(panels: &[Panel]) -> Vec<&[Panel]> {
    let (mut lines, mut rest) = (Vec::new(), panels);
    while !rest.is_empty() {
        let mut width = 0;
        let fits = |panel: &&Panel| {
            width += panel.width;
            width <= 24
        };
        let (line, more) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        lines.push(line);
        rest = more;
    }
    lines
}
