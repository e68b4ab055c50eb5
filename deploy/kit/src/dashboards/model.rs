//! What a board is made of, and how Grafana writes it (schema version 39, Grafana 11).

use serde_json::{Value, json};

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
    Panel { title, about, shape, unit, queries: Vec::new(), thresholds: &[], width, height, runbooks: &[] }
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
                "textMode": "auto", "orientation": "auto", "wideLayout": true,
            }),
            Shape::Gauge => json!({
                "reduceOptions": reduce, "showThresholdLabels": false, "showThresholdMarkers": true,
                "orientation": "auto", "sizing": "auto", "minVizHeight": 75, "minVizWidth": 75,
            }),
            Shape::Pie => json!({
                "reduceOptions": reduce, "pieType": "donut", "displayLabels": ["percent"],
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
                json!({ "cellHeight": "sm", "showHeader": true, "footer": { "show": false, "reducer": ["sum"], "countRows": false, "fields": "" } })
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
            Shape::Lines => json!({ "lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": false }),
            Shape::Stacked => json!({
                "lineWidth": 0, "fillOpacity": 80, "showPoints": "never", "spanNulls": false,
                "stacking": { "mode": "normal", "group": "A" },
            }),
            Shape::Timeline => json!({ "lineWidth": 0, "fillOpacity": 80 }),
            _ => json!({}),
        }
    }

    /// As Grafana has it, at a place of its grid.
    #[must_use]
    pub fn json(&self, id: usize, x: u32, y: u32, runbooks: &str) -> Value {
        let format = match self.shape {
            Shape::Heatmap => "heatmap",
            Shape::Table => "table",
            _ => "time_series",
        };
        let is_instant = matches!(self.shape, Shape::Table | Shape::Pie);
        let target = |(number, query): (usize, &Query)| {
            json!({
                "refId": char::from(b'A' + u8::try_from(number).unwrap_or(25)).to_string(),
                "datasource": { "type": "prometheus", "uid": "${datasource}" },
                "editorMode": "code", "expr": query.expr, "legendFormat": query.legend, "format": format,
                "instant": is_instant, "range": !is_instant,
            })
        };
        let mut steps = vec![json!({ "color": self.thresholds.first().map_or("green", |_| "green"), "value": null })];
        steps.extend(self.thresholds.iter().map(|(value, color)| json!({ "color": color, "value": value })));
        let link = |alert: &&str| json!({ "title": format!("Runbook: {alert}"), "url": format!("{runbooks}/{alert}.md"), "targetBlank": true });
        let (least, most) = if self.shape == Shape::Gauge && self.unit == "percentunit" {
            (json!(0), json!(1))
        } else {
            (Value::Null, Value::Null)
        };
        let mut defaults = json!({
            "unit": self.unit, "custom": self.custom(), "mappings": [],
            "thresholds": { "mode": "absolute", "steps": steps },
            "color": { "mode": if matches!(self.shape, Shape::Figure | Shape::Gauge | Shape::Timeline) { "thresholds" } else { "palette-classic" } },
        });
        if !least.is_null() {
            defaults["min"] = least;
            defaults["max"] = most;
        }
        json!({
            "id": id, "type": self.kind(), "title": self.title, "description": self.about,
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
            "targets": self.queries.iter().enumerate().map(target).collect::<Vec<_>>(),
            "fieldConfig": { "defaults": defaults, "overrides": [] },
            "options": self.options(),
            "links": self.runbooks.iter().map(link).collect::<Vec<_>>(),
        })
    }
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
            let (mut x, mut tallest) = (0, 0);
            for panel in row {
                if x + panel.width > 24 {
                    (x, y, tallest) = (0, y + tallest, 0);
                }
                panels.push(panel.json(panels.len() + 1, x, y, runbooks));
                (x, tallest) = (x + panel.width, tallest.max(panel.height));
            }
            y += tallest;
        }
        let source = json!({
            "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1, "hide": 0,
            "multi": false, "includeAll": false, "options": [], "regex": "", "skipUrlSync": false, "current": {},
        });
        let variables: Vec<Value> = std::iter::once(source).chain(self.variables.iter().map(Variable::json)).collect();
        json!({
            "uid": self.uid, "title": self.title, "description": self.about, "tags": [TAG], "schemaVersion": 39, "version": 1,
            "editable": true, "graphTooltip": 1, "refresh": self.refresh, "timezone": "browser", "weekStart": "",
            "fiscalYearStartMonth": 0, "liveNow": false, "preload": false, "id": null,
            "time": { "from": "now-1h", "to": "now" }, "timepicker": {},
            "annotations": { "list": [] }, "templating": { "list": variables }, "panels": panels,
            "links": [{
                "type": "dashboards", "title": "StemeDB", "tags": [TAG], "asDropdown": false, "includeVars": true, "keepTime": true,
                "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
            }],
        })
    }
}
