//! What one request may take: bytes of its head and its body, time to send it, memory of all bodies together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::LengthLimitError;
use stemedb_metrics::Layer;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::Error;

/// Bytes of a body.
pub const MAX_BODY: usize = 1 << 20;
/// Bytes of a path and of headers.
pub const MAX_HEAD: usize = 16 << 10;
/// Memory that all bodies have together, in KiB.
const MEMORY: u32 = 64 << 10;
/// How long a request waits for memory.
const WAIT: Duration = Duration::from_secs(1);
const KIB: u64 = 1 << 10;

/// The bounds, which all requests share.
#[derive(Clone)]
pub(super) struct Bounds {
    memory: Arc<Semaphore>,
    patience: Duration,
}

impl Bounds {
    /// A client has so long to send a body.
    pub(super) fn new(patience: Duration) -> Self {
        Self { memory: Arc::new(Semaphore::new(MEMORY as usize)), patience }
    }

    async fn place_for(&self, bytes: u64) -> Result<SemaphorePermit<'_>, Error> {
        // At most `MAX_BODY`, which fits.
        let kib = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(MEMORY);
        if let Ok(Ok(place)) = tokio::time::timeout(WAIT, self.memory.acquire_many(kib)).await {
            return Ok(place);
        }
        let message = "too many large requests at once; try again in 1 s";
        Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", Layer::Limits, message).retry_after(1))
    }

    async fn whole(&self, body: Body) -> Result<Body, Error> {
        match tokio::time::timeout(self.patience, to_bytes(body, MAX_BODY)).await {
            Ok(Ok(bytes)) => Ok(bytes.into()),
            Ok(Err(error)) if is_too_large(&error) => Err(too_large()),
            Ok(Err(error)) => {
                Err(Error::new(StatusCode::BAD_REQUEST, "invalid_request", Layer::Http, format!("the body: {error}")))
            }
            Err(_) => {
                let message = format!("the body has not come within {} s", self.patience.as_secs());
                Err(Error::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", Layer::Http, message))
            }
        }
    }
}

/// Lets a request through once it is there as a whole.
pub(super) async fn bounded(State(bounds): State<Bounds>, request: Request, next: Next) -> Result<Response, Error> {
    let head = size_of(request.uri(), request.headers());
    if head > MAX_HEAD {
        let message = format!("path and headers have {head} bytes, more than {MAX_HEAD}");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Error::new(status, "head_too_large", Layer::Http, message));
    }
    let (parts, body) = request.into_parts();
    let hint = body.size_hint();
    if hint.upper() == Some(0) {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let largest = hint.upper().unwrap_or(MAX_BODY as u64).min(MAX_BODY as u64);
    if hint.lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let _place = bounds.place_for(largest).await?;
    let body = bounds.whole(body).await?;
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Bytes of a path and of headers, as they came.
fn size_of(uri: &Uri, headers: &HeaderMap) -> usize {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    path + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum::<usize>()
}

fn too_large() -> Error {
    let message = format!("the body is longer than {MAX_BODY} bytes");
    Error::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", Layer::Http, message)
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<LengthLimitError>)
}
