//! The HTTP API: one table of routes, from which the router, `GET /v1/routes` and the tests derive.

mod auth;
mod bounds;
mod error;
mod handlers;
mod input;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, on};
use serde::Serialize;
use stemedb_metrics::Metrics;

pub use bounds::{MAX_BODY, MAX_HEAD};
pub use limits::{Cost, Limits};

use crate::cluster::View;
use crate::service::Service;
use auth::{Guard, authorize};
use bounds::{Bounds, bounded};
use limits::{Limiter, limit};

/// One row of [`ROUTES`].
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path's template.
    pub path: &'static str,
    /// What it costs.
    #[serde(skip)]
    pub cost: Cost,
    /// What it does.
    pub about: &'static str,
}

/// What handlers have.
#[derive(Clone, FromRef)]
struct App {
    service: Arc<Service>,
    view: Arc<View>,
}

macro_rules! routes {
    ($($method:ident $path:literal $cost:ident $handler:ident, $about:literal;)+) => {
        /// Every route but `/metrics`.
        pub const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            cost: Cost::$cost,
            about: $about,
        }),+];

        fn routed(limits: &Limits, guard: &dyn Fn(Cost) -> Guard) -> Router<App> {
            Router::new()$(.route($path, on(MethodFilter::$method, handlers::$handler)
                .route_layer(from_fn_with_state(guard(Cost::$cost), authorize))
                .route_layer(from_fn_with_state(Limiter::new(limits, Cost::$cost), limit))))+
        }
    };
}

routes! {
    POST "/v1/vote" Write vote, "Take a vote";
    GET "/v1/vote/{id}" Read get_vote, "A vote";
    DELETE "/v1/vote/{id}" Write remove_vote, "Take a vote back";
    POST "/v1/votes" Bulk votes, "Take several votes, all or none";
    PUT "/v1/claim/{id}" Write put_claim, "Store a claim";
    GET "/v1/claim/{id}" Read claim, "A claim";
    DELETE "/v1/claim/{id}" Write remove_claim, "Remove a claim";
    GET "/v1/claims" Bulk claims, "Claims in the order of their ids";
    GET "/v1/claim/{id}/votes" Bulk votes_on, "Votes on a claim in the order of time";
    GET "/v1/claim/{id}/tally" Bulk tally, "The votes on a claim, weighed by trust";
    PUT "/v1/agent/{id}" Write put_agent, "Store an agent";
    GET "/v1/agent/{id}" Read agent, "An agent";
    GET "/v1/agents" Bulk agents, "Agents in the order of their ids";
    GET "/v1/agent/{id}/votes" Bulk votes_of, "Votes of an agent in the order of time";
    PUT "/v1/gold/{id}" Write put_gold, "Say which choice of a claim is right";
    GET "/v1/gold" Bulk gold, "Gold standards in the order of their claims";
    DELETE "/v1/gold/{id}" Write remove_gold, "Remove a gold standard";
    GET "/v1/quarantine" Bulk quarantine, "Votes that are held back";
    POST "/v1/quarantine/{id}/release" Write release, "Let a vote count that was held back";
    DELETE "/v1/quarantine/{id}" Write discard, "Throw a vote away that was held back";
    POST "/v1/admin/checkpoint" Admin checkpoint, "Make the store durable, and drop segments of the log that it no longer needs";
    POST "/v1/admin/decay" Admin decay, "Let every agent's trust decay";
    PUT "/v1/admin/key/{id}" Admin make_key, "Make an API key, and tell its secret; from the first one on, /v1/admin needs one";
    DELETE "/v1/admin/key/{id}" Admin remove_key, "Remove an API key";
    GET "/v1/admin/keys" Admin keys, "API keys, without their secrets";
    GET "/v1/admin/wal" Admin wal, "What the write-ahead log counts";
    GET "/v1/admin/cluster" Admin cluster, "What this node knows of its peers";
    POST "/v1/peer/changes" Peer take, "Take changes that were made at another node";
    POST "/v1/peer/records" Peer records, "Records by their tables and keys";
    GET "/v1/peer/tree/{id}" Peer hashes, "Hashes of what is below a path of the Merkle tree; root, or up to two hexadecimal digits";
    GET "/v1/peer/leaf/{id}" Peer versions, "What is below a leaf of the Merkle tree, of three hexadecimal digits";
    GET "/v1/routes" Read list, "All routes";
    GET "/healthz" Free health, "Whether the process answers";
    GET "/readyz" Free ready, "Whether requests can be answered";
}

/// The whole API, measured. A client has `patience` for the body of a request.
pub fn router(
    service: &Arc<Service>,
    view: Arc<View>,
    metrics: &Metrics,
    limits: &Limits,
    patience: Duration,
) -> Router {
    let secret = view.secret.clone();
    let guard = |cost| Guard { service: service.clone(), secret: secret.clone(), cost };
    routed(limits, &guard)
        .with_state(App { service: service.clone(), view })
        .merge(metrics.routes())
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        // It is there as a whole, and no longer than `MAX_BODY`.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Bounds::new(patience), bounded))
        .layer(metrics.http())
}
