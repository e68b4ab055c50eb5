//! Who may do what: the operator's work needs an API key, once there is one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::Error;
use super::limits::Cost;
use crate::service::Service;

/// Lets a request through that may pass.
pub(super) async fn authorize(
    State((service, cost)): State<(Arc<Service>, Cost)>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    if cost == Cost::Admin {
        service.authorize(secret(request.headers()))?;
    }
    Ok(next.run(request).await)
}

/// The secret that a request has (RFC 6750, 2.1).
fn secret(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}
