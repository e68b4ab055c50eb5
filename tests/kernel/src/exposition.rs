//! A strict reader of both text formats: a line that it does not understand is an error.

use anyhow::{Context, Result, bail, ensure};

/// A metric with its samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Family {
    /// Its name in `# TYPE`.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Its help text as it is written.
    pub help: String,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// A line with a number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Its name, with `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// Its labels in their order, with `le`.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

/// Reads an exposition; a sample must follow the `# TYPE` of its metric.
pub fn parse(text: &str) -> Result<Vec<Family>> {
    let mut families: Vec<Family> = Vec::new();
    ensure!(text.ends_with('\n'), "the last line has no end");
    for line in text.lines() {
        let last = families.last_mut();
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').with_context(|| format!("no help text: {line}"))?;
            ensure!(families.iter().all(|family| family.name != name), "{name} is there twice");
            families.push(Family { name: name.to_owned(), help: help.to_owned(), ..Family::default() });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let family =
                last.filter(|family| family.kind.is_empty()).with_context(|| format!("not after HELP: {line}"))?;
            let kind = rest.strip_prefix(&format!("{} ", family.name)).with_context(|| line.to_owned())?;
            kind.clone_into(&mut family.kind);
        } else if line == "# EOF" {
            ensure!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1, "# EOF is not the end");
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            ensure!(last.is_some_and(|family| unit.starts_with(&family.name)), "a unit of nothing: {line}");
        } else {
            let sample = sample(line).with_context(|| format!("not a sample: {line}"))?;
            let family = last.filter(|family| belongs(family, &sample.name));
            family.with_context(|| format!("a sample of no metric: {line}"))?.samples.push(sample);
        }
    }
    match families.iter().find(|family| family.samples.is_empty()) {
        Some(family) => bail!("{} has no samples", family.name),
        None => Ok(families),
    }
}

fn belongs(family: &Family, sample: &str) -> bool {
    let Some(ending) = sample.strip_prefix(&family.name) else { return false };
    match family.kind.as_str() {
        "histogram" => ["_bucket", "_sum", "_count"].contains(&ending),
        // OpenMetrics leaves the ending to the samples.
        "counter" => ending == "_total" || (ending.is_empty() && sample.ends_with("_total")),
        "gauge" => ending.is_empty(),
        _ => false,
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (before, value) = line.rsplit_once(' ')?;
    let (name, labels) = match before.split_once('{') {
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
        None => (before, Vec::new()),
    };
    let fine =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    Some(Sample { name: fine.then(|| name.to_owned())?, labels, value: value.parse().ok()? })
}

fn labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut out = Vec::new();
    loop {
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        out.push((name.to_owned(), value));
        match rest.strip_prefix(',') {
            Some(rest) => text = rest,
            None => return rest.is_empty().then_some(out),
        }
    }
}

/// Reads up to the closing quote; also returns what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((out, chars.as_str())),
            '\\' => out.push(match chars.next()? {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_hold_anything() {
        let families = parse("# HELP n h\n# TYPE n gauge\nn{a=\"x\\\\\\\"} \\n\",b=\"\"} 1.5\n").unwrap();
        let sample = &families[0].samples[0];
        assert_eq!((sample.label("a"), sample.label("b")), (Some("x\\\"} \n"), Some("")));
        assert!((sample.value - 1.5).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        for text in ["n 1\n", "# HELP n h\n# TYPE n gauge\n", "# HELP n h\n# TYPE n gauge\nm 1\n", "", "\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        for sample in ["n{a=\"b} 1", "n{a=b} 1", "n x", "n", "n{a=\"\\x\"} 1", "n{a=\"b\",} 1"] {
            assert!(parse(&format!("# HELP n h\n# TYPE n gauge\n{sample}\n")).is_err(), "{sample}");
        }
    }
}
