//! A load on the node's API: requests come when they come, whether or not those before have been answered (open loop).
//!
//! A latency is measured from the moment at which a request should have begun, so that a node that stalls cannot hide it by making the
//! load wait ("coordinated omission").

mod mix;
mod report;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub use report::{Answer, Report, Row};

use mix::{Mix, Shot};

/// Requests that may be on their way; more are not sent, and counted.
const MOST: usize = 5_000;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Votes that are remembered, to ask for them.
const RECENT: usize = 1_000;

/// What is sent, where, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// The nodes, which are asked in turn.
    pub nodes: Vec<Uri>,
    /// Requests a second, on average: they come as independent clients would send them (a Poisson process).
    pub rate: f64,
    /// For how long.
    pub time: Duration,
    /// The share of requests that are wrong in one way or another, from 0 to 1.
    pub bad: f64,
    /// The same number makes the same requests.
    pub seed: u64,
}

/// Why there was no load.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A node does not take what the load needs there.
    #[error("{node} does not take {what}: {why}")]
    Prepare {
        /// The node.
        node: String,
        /// What was sent.
        what: String,
        /// What it answered.
        why: String,
    },
}

type Http = Client<HttpConnector, Full<Bytes>>;
type Recent = Arc<Mutex<VecDeque<String>>>;

/// Sends the load until its time is over, or it is stopped. Blocks.
pub fn run(options: &Options, runtime: &Runtime, stop: &AtomicBool) -> Result<Report, Error> {
    let http: Http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(HttpConnector::new());
    let mut report = Report::default();
    runtime.block_on(prepare(options, &http, &mut report))?;
    let recent = Recent::default();
    let mut dice = StdRng::seed_from_u64(options.seed);
    let mix = Mix::new(options.bad);
    let mut tasks = JoinSet::new();
    let (begin, mut due) = (Instant::now(), Duration::ZERO);
    for node in options.nodes.iter().cycle() {
        due += pause(&mut dice, options.rate);
        if due >= options.time || stop.load(Ordering::Relaxed) {
            break;
        }
        // A thread's sleep is twenty times as exact as the runtime's.
        std::thread::sleep((begin + due).saturating_duration_since(Instant::now()));
        while let Some(done) = tasks.try_join_next() {
            report.take(done);
        }
        if tasks.len() >= MOST {
            report.not_sent += 1;
            continue;
        }
        let shot = mix.shot(&mut dice, &recent);
        tasks.spawn_on(fire(http.clone(), node.clone(), shot, begin + due, recent.clone()), runtime.handle());
    }
    report.time = begin.elapsed();
    runtime.block_on(async {
        while let Some(done) = tasks.join_next().await {
            report.take(done);
        }
    });
    Ok(report)
}

/// The time to the next request of a Poisson process.
fn pause(dice: &mut StdRng, rate: f64) -> Duration {
    // Above 0, at most 1.
    let share: f64 = 1.0 - dice.random::<f64>();
    Duration::try_from_secs_f64(-share.ln() / rate).unwrap_or(Duration::MAX)
}

/// What the requests are about must be there.
async fn prepare(options: &Options, http: &Http, report: &mut Report) -> Result<(), Error> {
    let Some(node) = options.nodes.first() else { return Ok(()) };
    for shot in mix::prepare() {
        let what = format!("{} {}", shot.method, shot.path);
        let answer = fire(http.clone(), node.clone(), shot, Instant::now(), Recent::default()).await;
        let why = match &answer.result {
            Ok(StatusCode::OK) => None,
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(error.clone()),
        };
        report.take(Ok(answer));
        if let Some(why) = why {
            return Err(Error::Prepare { node: node.to_string(), what, why });
        }
    }
    Ok(())
}

/// Sends one, and waits for the last byte of its answer.
async fn fire(http: Http, node: Uri, shot: Shot, due: Instant, recent: Recent) -> Answer {
    let begun = Instant::now();
    let answered = tokio::time::timeout(LIMIT, exchange(&http, &node, &shot)).await;
    let latency = due.elapsed();
    let result = match answered {
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        Ok(Err(error)) => Err(error),
        Ok(Ok((status, body))) => {
            if status == StatusCode::CREATED {
                remember(&recent, &body);
            }
            Ok(status)
        }
    };
    Answer { method: shot.method, path: shot.template, result, latency, late: begun.saturating_duration_since(due) }
}

fn exchange(http: &Http, node: &Uri, shot: &Shot) -> impl Future<Output = Result<(StatusCode, Bytes), String>> + Send {
    let url = format!("{}{}", node.to_string().trim_end_matches('/'), shot.path);
    let mut request = Request::builder().method(shot.method).uri(url);
    if let Some(kind) = shot.content_type {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    let request = request.body(Full::from(shot.body.clone())).map(|request| http.request(request));
    async move {
        let response = request.map_err(|error| error.to_string())?.await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

/// Remembers a vote's id.
fn remember(recent: &Recent, body: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    let Some(id) = value.get("id").and_then(serde_json::Value::as_str) else { return };
    let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
    if recent.len() >= RECENT {
        recent.pop_front();
    }
    recent.push_back(id.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_at_the_rate_and_not_evenly() {
        let mut dice = StdRng::seed_from_u64(1);
        let pauses: Vec<f64> = (0..10_000).map(|_| pause(&mut dice, 200.0).as_secs_f64()).collect();
        let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
        assert!((mean * 200.0 - 1.0).abs() < 0.05, "{mean}");
        // Of a Poisson process, a share of 1 / e of the pauses is longer than the mean one.
        let long = pauses.iter().filter(|pause| **pause > mean).count();
        assert!((3_500..3_900).contains(&long), "{long}");
    }
}
