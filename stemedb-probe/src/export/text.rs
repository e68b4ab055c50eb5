//! The two text formats: Prometheus' 0.0.4 and OpenMetrics 1.0. No crate writes both, and none takes a histogram that was
//! counted elsewhere; see `docs/adr/0004-exposition.md`.

use std::fmt::Write;

use crate::catalog::Kind;

/// Which text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header prefers (RFC 9110, 12.5.1); 0.0.4 where it names neither.
    #[must_use]
    pub fn negotiate(accept: &str) -> Self {
        let quality = |wanted: &str| {
            let fields = accept.split(',').map(|part| part.split(';').map(str::trim));
            fields
                .filter_map(|mut fields| {
                    let matches = fields.next()?.eq_ignore_ascii_case(wanted);
                    let q = fields.find_map(|field| field.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
                    matches.then_some(q)
                })
                .fold(0.0_f64, f64::max)
        };
        let text = quality("text/plain").max(quality("text/*")).max(quality("*/*"));
        if quality("application/openmetrics-text") > 0.0 && quality("application/openmetrics-text") >= text {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// A number that is written without loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number.
    Whole(u64),
    /// Nanoseconds, written as seconds with nine decimals.
    Nanoseconds(u64),
    /// Anything else.
    Float(f64),
}

/// A sample, or all samples of one histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number.
    Number(Number),
    /// A histogram.
    Histogram {
        /// Upper bounds, and how many values are at most that large; without the infinite one.
        buckets: Vec<(f64, u64)>,
        /// Sum of all values.
        sum: Number,
        /// Number of values.
        count: u64,
    },
}

/// All samples of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Full name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Its help text.
    pub help: &'static str,
    /// Its samples, each with its labels.
    pub samples: Vec<(Vec<(&'static str, String)>, Value)>,
}

/// Writes families in a format.
#[must_use]
pub fn write(families: &[Family], format: Format) -> String {
    let mut out = String::with_capacity(64 * 1024);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        write_family(&mut out, family, format);
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write_family(out: &mut String, family: &Family, format: Format) {
    let counter = family.kind == Kind::Counter && format == Format::OpenMetrics;
    let name = if counter { family.name.strip_suffix("_total").unwrap_or(&family.name) } else { &family.name };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {}", escape(family.help, false));
    let _ = writeln!(out, "# TYPE {name} {}", family.kind.word());
    if format == Format::OpenMetrics
        && let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")))
    {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    for (labels, value) in &family.samples {
        match value {
            Value::Number(number) => write_sample(out, &family.name, labels, None, *number),
            Value::Histogram { buckets, sum, count } => {
                let bucket = format!("{}_bucket", family.name);
                for (bound, cumulative) in buckets {
                    write_sample(out, &bucket, labels, Some(&bound_text(*bound)), Number::Whole(*cumulative));
                }
                write_sample(out, &bucket, labels, Some("+Inf"), Number::Whole(*count));
                write_sample(out, &format!("{}_sum", family.name), labels, None, *sum);
                write_sample(out, &format!("{}_count", family.name), labels, None, Number::Whole(*count));
            }
        }
    }
}

/// A bound as OpenMetrics wants it: with a decimal point also when it is whole.
fn bound_text(bound: f64) -> String {
    if bound.fract() == 0.0 && bound.abs() < 1e15 { format!("{bound:.1}") } else { format!("{bound}") }
}

fn write_sample(out: &mut String, name: &str, labels: &[(&'static str, String)], le: Option<&str>, number: Number) {
    out.push_str(name);
    let le = le.map(|le| ("le", le));
    let all = labels.iter().map(|(label, value)| (*label, value.as_str())).chain(le);
    let mut open = false;
    for (label, value) in all {
        let _ = write!(out, "{}{label}=\"{}\"", if open { ',' } else { '{' }, escape(value, true));
        open = true;
    }
    if open {
        out.push('}');
    }
    let _ = match number {
        Number::Whole(n) => writeln!(out, " {n}"),
        Number::Nanoseconds(ns) => writeln!(out, " {}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
        Number::Float(f) => writeln!(out, " {f}"),
    };
}

/// Escapes a help text or a label's value as both formats ask.
fn escape(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_accept_header_decides() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Format::negotiate(prometheus), Format::OpenMetrics);
        for plain in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "application/json",
            "application/openmetrics-text;q=0.1,*/*",
            "garbage;;;q=,",
        ] {
            assert_eq!(Format::negotiate(plain), Format::Prometheus, "{plain}");
        }
    }

    #[test]
    fn numbers_keep_every_digit() {
        let family =
            |value| Family { name: "n_total".into(), kind: Kind::Counter, help: "h", samples: vec![(vec![], value)] };
        let text = |number| write(&[family(Value::Number(number))], Format::Prometheus);
        assert!(text(Number::Whole(u64::MAX)).ends_with("n_total 18446744073709551615\n"));
        assert!(text(Number::Nanoseconds(1_000_000_001)).ends_with("n_total 1.000000001\n"));
    }

    #[test]
    fn openmetrics_names_the_family_of_a_counter_without_its_ending() {
        let family = Family {
            name: "n_total".into(),
            kind: Kind::Counter,
            help: "h",
            samples: vec![(vec![], Value::Number(Number::Whole(1)))],
        };
        assert_eq!(write(&[family], Format::OpenMetrics), "# HELP n h\n# TYPE n counter\nn_total 1\n# EOF\n");
    }

    fn unescape(text: &str) -> String {
        let mut chars = text.chars();
        let mut out = String::new();
        while let Some(c) = chars.next() {
            match c {
                '\\' => out.push(chars.next().map_or('\\', |c| if c == 'n' { '\n' } else { c })),
                c => out.push(c),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_label_value_stays_on_its_line(value in ".*") {
            let family = Family { name: "n".into(), kind: Kind::Gauge, help: "h", samples: vec![(vec![("l", value.clone())], Value::Number(Number::Whole(1)))] };
            let text = write(&[family], Format::Prometheus);
            let line = text.split('\n').nth(2).unwrap();
            let inner = line.strip_prefix("n{l=\"").unwrap().strip_suffix("\"} 1").unwrap();
            prop_assert_eq!(unescape(inner), value);
        }
    }
}
