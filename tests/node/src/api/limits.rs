//! Rate limits: each endpoint has one of its own, by what it costs.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use stemedb_metrics::Layer;

use super::error::Error;

/// What an endpoint costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Nothing that need be limited.
    Free,
    /// A read.
    Read,
    /// A write.
    Write,
    /// Many reads or writes.
    Bulk,
    /// The operator's.
    Admin,
    /// Other nodes'.
    Peer,
}

/// Requests a second for an endpoint of each cost; as many may come at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Reads.
    pub read: NonZeroU32,
    /// Writes.
    pub write: NonZeroU32,
    /// Many of them.
    pub bulk: NonZeroU32,
    /// The operator's.
    pub admin: NonZeroU32,
    /// Other nodes'.
    pub peer: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self { read: number(5_000), write: number(2_000), bulk: number(200), admin: number(20), peer: number(10_000) }
    }
}

impl Limits {
    fn of(&self, cost: Cost) -> Option<NonZeroU32> {
        match cost {
            Cost::Free => None,
            Cost::Read => Some(self.read),
            Cost::Write => Some(self.write),
            Cost::Bulk => Some(self.bulk),
            Cost::Admin => Some(self.admin),
            Cost::Peer => Some(self.peer),
        }
    }
}

/// The limit of one endpoint.
#[derive(Clone)]
pub(super) struct Limiter(Option<Arc<DefaultDirectRateLimiter>>);

impl Limiter {
    pub(super) fn new(limits: &Limits, cost: Cost) -> Self {
        Self(limits.of(cost).map(|number| Arc::new(RateLimiter::direct(Quota::per_second(number)))))
    }
}

/// Lets a request through, or tells when to come again.
pub(super) async fn limit(State(limiter): State<Limiter>, request: Request, next: Next) -> Result<Response, Error> {
    let Some(limiter) = &limiter.0 else { return Ok(next.run(request).await) };
    if let Err(not_until) = limiter.check() {
        let seconds = not_until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
        let message = format!("too many requests to this endpoint; try again in {seconds} s");
        let error = Error::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", Layer::Limits, message);
        return Err(error.retry_after(seconds));
    }
    Ok(next.run(request).await)
}
