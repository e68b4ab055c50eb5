//! What the node exports of its API, as far as the demo shows it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

/// Requests of one method, path and status.
pub(crate) type Route = (String, String, u16);

/// The route that is shown by itself: it waits for the write-ahead log.
pub(crate) const VOTE: (&str, &str) = ("POST", "/v1/vote");

/// An answer of the node's /metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Api {
    /// Answers by route.
    pub(crate) answers: BTreeMap<Route, u64>,
    /// Of each route, how many answers took at most so many seconds, in the order of these.
    buckets: BTreeMap<Route, Vec<(f64, u64)>>,
}

/// The API in a window of time.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) answers_per_second: f64,
    /// Of these, those with a status of 400 or more.
    pub(crate) refused_per_second: f64,
    /// The median and the quantile 0.99, in seconds, as Prometheus' `histogram_quantile` gives them.
    pub(crate) quantiles: [Option<f64>; 2],
}

/// The histogram's name.
const NAME: &str = "stemedb_http_request_duration_seconds";

impl Api {
    /// Reads an answer; what the demo asks itself is left out.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut api = Self::default();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix(NAME) else { continue };
            let parts = || rest.split_once('{').and_then(|(kind, rest)| Some((kind, rest.rsplit_once("} ")?)));
            let (kind, (labels, value)) = parts().with_context(|| format!("no sample: {line}"))?;
            let label = |name: &str| {
                let begin = labels.split_once(&format!("{name}=\""));
                begin.and_then(|(_, rest)| rest.split_once('"')).map(|(value, _)| value)
            };
            let route = label("method").zip(label("path")).zip(label("status").and_then(|text| text.parse().ok()));
            let ((method, path), status) = route.with_context(|| format!("no route: {line}"))?;
            if path == "/metrics" || path.starts_with("/v1/admin/") {
                continue;
            }
            let route = (method.to_owned(), path.to_owned(), status);
            match (kind, label("le")) {
                ("_bucket", Some(bound)) => {
                    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
                    api.buckets.entry(route).or_default().push((bound, value.parse()?));
                }
                ("_count", _) => drop(api.answers.insert(route, value.parse()?)),
                _ => {}
            }
        }
        Ok(api)
    }

    /// What happened in the `seconds` since an `earlier` answer: of the votes, and of all routes.
    pub(crate) fn since(&self, earlier: &Self, seconds: f64) -> Vec<Row> {
        let is_vote = |route: &Route| (route.0.as_str(), route.1.as_str()) == VOTE;
        let row = |name: &str, is_in: &dyn Fn(&Route) -> bool| {
            let answers = |of: &Self, refused: bool| {
                let counts = of.answers.iter().filter(|(route, _)| is_in(route) && (!refused || route.2 >= 400));
                counts.map(|(_, count)| count).sum::<u64>()
            };
            let rate = |refused| answers(self, refused).saturating_sub(answers(earlier, refused)) as f64 / seconds;
            let (before, mut window) = (earlier.cumulated(is_in), self.cumulated(is_in));
            for (bound, count) in &mut window {
                *count -= before
                    .iter()
                    .find(|(other, _)| other.total_cmp(bound).is_eq())
                    .map_or(0, |(_, count)| *count)
                    .min(*count);
            }
            Row {
                name: name.to_owned(),
                answers_per_second: rate(false),
                refused_per_second: rate(true),
                quantiles: [0.5, 0.99].map(|q| quantile(&window, q)),
            }
        };
        vec![row(&format!("{} {}", VOTE.0, VOTE.1), &is_vote), row("all routes", &|_| true)]
    }

    /// The buckets of several routes as those of one.
    fn cumulated(&self, is_in: &dyn Fn(&Route) -> bool) -> Vec<(f64, u64)> {
        let mut sum: Vec<(f64, u64)> = Vec::new();
        for buckets in self.buckets.iter().filter(|(route, _)| is_in(route)).map(|(_, buckets)| buckets) {
            if sum.is_empty() {
                sum.clone_from(buckets);
                continue;
            }
            for ((_, count), (_, more)) in sum.iter_mut().zip(buckets) {
                *count += more;
            }
        }
        sum
    }
}

/// A quantile of cumulative buckets, by a line within the bucket; nothing without answers, and the highest bound where it is above that.
fn quantile(buckets: &[(f64, u64)], q: f64) -> Option<f64> {
    let all = buckets.last()?.1;
    if all == 0 {
        return None;
    }
    let rank = q * all as f64;
    let place = buckets.iter().position(|(_, count)| *count as f64 >= rank)?;
    let (low, before) = place.checked_sub(1).map_or((0.0, 0), |place| buckets[place]);
    let (high, count) = buckets[place];
    if high.is_infinite() {
        return Some(low);
    }
    Some(low + (high - low) * (rank - before as f64) / (count - before).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(method: &str, path: &str, status: u16, buckets: [u64; 3]) -> String {
        let labels = format!("method=\"{method}\",path=\"{path}\",status=\"{status}\"");
        let bucket = |(le, count): (&str, u64)| format!("{NAME}_bucket{{{labels},le=\"{le}\"}} {count}\n");
        let lines: String = ["0.001", "0.002", "+Inf"].into_iter().zip(buckets).map(bucket).collect();
        format!("{lines}{NAME}_sum{{{labels}}} 0.5\n{NAME}_count{{{labels}}} {}\n", buckets[2])
    }

    #[test]
    fn a_window_has_only_its_own_answers() {
        let before = Api::parse(&sample("POST", "/v1/vote", 201, [10, 10, 10])).unwrap();
        let after = sample("POST", "/v1/vote", 201, [10, 110, 110])
            + &sample("POST", "/v1/vote", 422, [4, 4, 4])
            + &sample("GET", "/v1/claims", 200, [96, 96, 96])
            + &sample("GET", "/metrics", 200, [9, 9, 9]);
        let after = Api::parse(&after).unwrap();
        let [vote, all] = <[Row; 2]>::try_from(after.since(&before, 2.0)).unwrap();
        assert!((vote.answers_per_second - 52.0).abs() < 1e-9 && (vote.refused_per_second - 2.0).abs() < 1e-9);
        assert!((all.answers_per_second - 100.0).abs() < 1e-9);
        // Of 104, the 52nd is the 48th of the 100 between one and two milliseconds.
        assert!((vote.quantiles[0].unwrap() - 0.00148).abs() < 1e-9, "{vote:?}");
        assert!((all.quantiles[0].unwrap() - 0.001).abs() < 1e-9, "{all:?}");
        assert_eq!(after.since(&after, 1.0)[0].quantiles, [None, None]);
    }

    #[test]
    fn what_is_above_the_last_bound_is_at_least_that() {
        let api = Api::parse(&sample("POST", "/v1/vote", 201, [0, 0, 5])).unwrap();
        assert_eq!(api.since(&Api::default(), 1.0)[0].quantiles, [Some(0.002), Some(0.002)]);
        assert!(Api::parse(&format!("{NAME}_count nonsense")).is_err());
    }
}
