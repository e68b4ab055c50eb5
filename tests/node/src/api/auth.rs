//! Who may do what: the operator's work needs an API key, once there is one, and nodes know each other by their cluster's secret.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::Error;
use super::limits::Cost;
use crate::service::{self, Service};

/// What decides about the requests to one endpoint.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) service: Arc<Service>,
    /// The cluster's secret; nothing where this node has no peers, and nobody is one.
    pub(super) secret: Option<Arc<str>>,
    pub(super) cost: Cost,
}

/// Lets a request through that may pass.
pub(super) async fn authorize(State(guard): State<Guard>, request: Request, next: Next) -> Result<Response, Error> {
    let sent = secret(request.headers());
    match guard.cost {
        Cost::Admin => guard.service.authorize(sent)?,
        Cost::Peer if guard.secret.is_none() || sent != guard.secret.as_deref() => {
            return Err(service::Error::NotAPeer.into());
        }
        Cost::Free | Cost::Read | Cost::Write | Cost::Bulk | Cost::Peer => {}
    }
    Ok(next.run(request).await)
}

/// The secret that a request has (RFC 6750, 2.1).
fn secret(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}
