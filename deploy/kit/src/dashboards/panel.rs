//! A panel: what it asks, how it looks, and how Grafana writes that.

use serde_json::{Value, json};

use super::model::link;

/// What Grafana's panel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Lines over time.
    Lines,
    /// Lines over time, one on the other.
    Stacked,
    /// One figure.
    Figure,
    /// One figure between a least and a most.
    Gauge,
    /// Shares of a whole.
    Pie,
    /// How often which value, over time.
    Heatmap,
    /// Rows.
    Table,
    /// States over time.
    Timeline,
}

/// A query and how its series are called.
#[derive(Debug, Clone)]
pub struct Query {
    /// PromQL, with Grafana's variables.
    pub expr: String,
    /// The legend, with labels in double braces.
    pub legend: &'static str,
}

/// A panel.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Its title.
    pub title: &'static str,
    /// What it shows and how to read it.
    pub about: &'static str,
    /// How it looks.
    pub shape: Shape,
    /// Grafana's name of the unit.
    pub unit: &'static str,
    /// What it asks.
    pub queries: Vec<Query>,
    /// From which value on which colour.
    pub thresholds: &'static [(f64, &'static str)],
    /// Which series have which colour: patterns of what the legend calls them.
    pub colours: &'static [(&'static str, &'static str)],
    /// What values are called, and their colours.
    pub words: &'static [(&'static str, &'static str, &'static str)],
    /// What each series leads to: a title, and a URL with Grafana's variables.
    pub leads: Option<(&'static str, &'static str)>,
    /// Of 24.
    pub width: u32,
    /// Rows of Grafana's grid.
    pub height: u32,
    /// Alerts whose runbooks it links to.
    pub runbooks: &'static [&'static str],
}

/// A panel of a shape, as wide as half the board.
#[must_use]
pub(super) fn panel(title: &'static str, shape: Shape, unit: &'static str, about: &'static str) -> Panel {
    let (width, height) = match shape {
        Shape::Figure | Shape::Gauge => (6, 5),
        Shape::Pie => (8, 8),
        _ => (12, 8),
    };
    Panel {
        title,
        about,
        shape,
        unit,
        queries: Vec::new(),
        thresholds: &[],
        colours: &[],
        words: &[],
        leads: None,
        width,
        height,
        runbooks: &[],
    }
}

impl Panel {
    /// With one more query.
    #[must_use]
    pub fn ask(mut self, expr: impl Into<String>, legend: &'static str) -> Self {
        self.queries.push(Query { expr: expr.into(), legend });
        self
    }

    /// With colours from values on.
    #[must_use]
    pub fn coloured(mut self, thresholds: &'static [(f64, &'static str)]) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// With colours of series, by patterns of their names.
    #[must_use]
    pub fn series(mut self, colours: &'static [(&'static str, &'static str)]) -> Self {
        self.colours = colours;
        self
    }

    /// With words in the place of values.
    #[must_use]
    pub fn words(mut self, words: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        self.words = words;
        self
    }

    /// With a page that each series leads to.
    #[must_use]
    pub fn leads(mut self, title: &'static str, url: &'static str) -> Self {
        self.leads = Some((title, url));
        self
    }

    /// So wide, of 24.
    #[must_use]
    pub fn wide(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    /// With links to runbooks.
    #[must_use]
    pub fn runbooks(mut self, alerts: &'static [&'static str]) -> Self {
        self.runbooks = alerts;
        self
    }

    fn kind(&self) -> &'static str {
        match self.shape {
            Shape::Lines | Shape::Stacked => "timeseries",
            Shape::Figure => "stat",
            Shape::Gauge => "gauge",
            Shape::Pie => "piechart",
            Shape::Heatmap => "heatmap",
            Shape::Table => "table",
            Shape::Timeline => "state-timeline",
        }
    }

    fn options(&self) -> Value {
        let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self.shape {
            Shape::Lines | Shape::Stacked => json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Shape::Figure => json!({
                "reduceOptions": reduce, "colorMode": "value", "graphMode": "area", "justifyMode": "auto",
                "textMode": "auto", "orientation": "auto", "wideLayout": true, "showPercentChange": false,
                "percentChangeColorMode": "standard",
            }),
            Shape::Gauge => json!({
                "reduceOptions": reduce, "showThresholdLabels": false, "showThresholdMarkers": true,
                "orientation": "auto", "sizing": "auto", "minVizHeight": 75, "minVizWidth": 75,
            }),
            Shape::Pie => json!({
                "reduceOptions": reduce, "pieType": "donut", "displayLabels": ["percent"], "orientation": "auto",
                "legend": { "displayMode": "table", "placement": "right", "showLegend": true, "values": ["value"], "calcs": [] },
                "tooltip": { "mode": "single", "sort": "none" },
            }),
            Shape::Heatmap => json!({
                "calculate": false, "cellGap": 1, "yAxis": { "axisPlacement": "left", "reverse": false, "unit": self.unit },
                "color": { "mode": "scheme", "scheme": "Turbo", "steps": 64, "reverse": false, "exponent": 0.5, "fill": "dark-orange" },
                "rowsFrame": { "layout": "auto" }, "showValue": "never", "filterValues": { "le": 1e-9 },
                "exemplars": { "color": "rgba(255,0,255,0.7)" }, "legend": { "show": true },
                "tooltip": { "mode": "single", "yHistogram": true, "showColorScale": true },
            }),
            Shape::Table => {
                json!({ "frameIndex": 0, "cellHeight": "sm", "showHeader": true, "footer": { "show": false, "reducer": [], "countRows": false } })
            }
            Shape::Timeline => json!({
                "showValue": "auto", "rowHeight": 0.9, "mergeValues": true, "alignValue": "left",
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "single", "sort": "none" },
            }),
        }
    }

    fn custom(&self) -> Value {
        match self.shape {
            Shape::Lines => {
                // Points where a line has none: a value between gaps.
                let mut lines = json!({
                    "lineWidth": 1, "fillOpacity": 8, "showPoints": "auto", "spanNulls": false, "axisSoftMin": 0,
                    "thresholdsStyle": { "mode": if self.thresholds.is_empty() { "off" } else { "dashed" } },
                });
                if self.unit == "percentunit" {
                    lines["axisSoftMax"] = json!(1);
                }
                lines
            }
            Shape::Stacked => json!({
                "lineWidth": 0, "fillOpacity": 80, "showPoints": "never", "spanNulls": false, "axisSoftMin": 0,
                "stacking": { "mode": "normal", "group": "A" },
            }),
            Shape::Timeline => json!({ "lineWidth": 0, "fillOpacity": 80 }),
            Shape::Table => json!({ "align": "auto", "inspect": false }),
            _ => json!({}),
        }
    }

    /// As Grafana has it, at a place of its grid, as high as its neighbours.
    #[must_use]
    pub fn json(&self, id: usize, (x, y): (u32, u32), height: u32, runbooks: &str) -> Value {
        let format = match self.shape {
            Shape::Heatmap => "heatmap",
            Shape::Table => "table",
            _ => "time_series",
        };
        let is_instant = matches!(self.shape, Shape::Table | Shape::Pie | Shape::Gauge);
        let target = |(number, query): (usize, &Query)| {
            json!({
                "refId": char::from(b'A' + u8::try_from(number).unwrap_or(25)).to_string(),
                "datasource": { "type": "prometheus", "uid": "${datasource}" },
                "editorMode": "code", "expr": query.expr, "legendFormat": query.legend, "format": format,
                "instant": is_instant, "range": !is_instant,
            })
        };
        let mut steps = vec![json!({ "color": "green", "value": null })];
        steps.extend(self.thresholds.iter().map(|(value, color)| json!({ "color": color, "value": value })));
        let runbook = |alert: &&str| link("link", &format!("Runbook: {alert}"), &format!("{runbooks}/{alert}.md"));
        let mut defaults = json!({
            "unit": self.unit, "custom": self.custom(), "mappings": self.mappings(),
            "thresholds": { "mode": "absolute", "steps": steps },
            "color": { "mode": if matches!(self.shape, Shape::Figure | Shape::Gauge | Shape::Timeline) { "thresholds" } else { "palette-classic" } },
        });
        if self.shape == Shape::Gauge && self.unit == "percentunit" {
            defaults["min"] = json!(0);
            defaults["max"] = json!(1);
        }
        if let Some((title, url)) = self.leads {
            defaults["links"] = json!([link("link", title, url)]);
        }
        json!({
            "id": id, "type": self.kind(), "title": self.title, "description": self.about,
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "gridPos": { "x": x, "y": y, "w": self.width, "h": height },
            "targets": self.queries.iter().enumerate().map(target).collect::<Vec<_>>(),
            "fieldConfig": { "defaults": defaults, "overrides": self.overrides() },
            "options": self.options(),
            "links": self.runbooks.iter().map(runbook).collect::<Vec<_>>(),
            // Of a table, the time of its values says nothing.
            "transformations": if self.shape == Shape::Table {
                vec![json!({ "id": "organize", "options": { "excludeByName": { "Time": true } } })]
            } else {
                Vec::new()
            },
        })
    }

    fn mappings(&self) -> Vec<Value> {
        let word =
            |(value, text, color): &(&str, &str, &str)| ((*value).to_owned(), json!({ "text": text, "color": color }));
        let words: serde_json::Map<String, Value> = self.words.iter().map(word).collect();
        if words.is_empty() { Vec::new() } else { vec![json!({ "type": "value", "options": words })] }
    }

    fn overrides(&self) -> Vec<Value> {
        let colour = |(pattern, colour): &(&str, &str)| {
            json!({
                "matcher": { "id": "byRegexp", "options": format!("/{pattern}/") },
                "properties": [{ "id": "color", "value": { "mode": "fixed", "fixedColor": colour } }],
            })
        };
        // A table has colours where a cell is told to.
        let of_value = json!({
            "matcher": { "id": "byName", "options": "Value" },
            "properties": [{ "id": "custom.cellOptions", "value": { "type": "color-text" } }],
        });
        self.colours.iter().map(colour).chain((self.shape == Shape::Table).then_some(of_value)).collect()
    }
}
