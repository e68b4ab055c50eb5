//! What one request may take: bytes of its head and its body, time to send it, memory of all bodies together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;
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
const KIB: usize = 1 << 10;

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

    /// Memory for so many KiB.
    async fn place_for(&self, kib: usize) -> Result<SemaphorePermit<'_>, Error> {
        // At most those of `MAX_BODY`, which fit.
        let kib = u32::try_from(kib).unwrap_or(MEMORY);
        if let Ok(Ok(place)) = tokio::time::timeout(WAIT, self.memory.acquire_many(kib)).await {
            return Ok(place);
        }
        let message = "too many large requests at once; try again in 1 s";
        Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", Layer::Limits, message).retry_after(1))
    }

    /// A body as a whole, with the memory that it has. It gets memory as it comes: what is only announced costs nothing.
    async fn whole(&self, mut body: Body) -> Result<(Body, Option<SemaphorePermit<'_>>), Error> {
        let (mut whole, mut place): (Vec<u8>, Option<SemaphorePermit<'_>>) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            let broken = |error| {
                Error::new(StatusCode::BAD_REQUEST, "invalid_request", Layer::Http, format!("the body: {error}"))
            };
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if whole.len() + data.len() > MAX_BODY {
                return Err(too_large());
            }
            let held = place.as_ref().map_or(0, SemaphorePermit::num_permits);
            let more = self.place_for((whole.len() + data.len()).div_ceil(KIB) - held).await?;
            match &mut place {
                Some(place) => place.merge(more),
                None => place = Some(more),
            }
            whole.extend_from_slice(&data);
        }
        Ok((whole.into(), place))
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
    if hint.lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let Ok(whole) = tokio::time::timeout(bounds.patience, bounds.whole(body)).await else {
        let message = format!("the body has not come within {} s", bounds.patience.as_secs());
        return Err(Error::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", Layer::Http, message));
    };
    let (body, _place) = whole?;
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
