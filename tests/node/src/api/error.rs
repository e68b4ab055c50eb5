//! What a client is told when something is wrong: a status, and JSON that says what.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use stemedb_metrics::{Class, Classify, Layer};

use crate::model::Invalid;
use crate::service;
use crate::wal;

/// An error as the API tells it. Its count is what its response carries.
#[derive(Debug)]
pub(super) struct Error {
    status: StatusCode,
    class: Class,
    message: String,
    /// Seconds after which it may be worth another try.
    retry_after: Option<u64>,
}

impl Error {
    pub(super) fn new(status: StatusCode, kind: &'static str, layer: Layer, message: impl Into<String>) -> Self {
        Self { status, class: Class { kind, layer }, message: message.into(), retry_after: None }
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// What an extractor refuses, which has chosen the status.
    fn refused(status: StatusCode, message: String) -> Self {
        let (kind, layer) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", Layer::Http),
            _ => ("invalid_request", Layer::Validation),
        };
        Self::new(status, kind, layer, message)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.class.kind, "message": self.message }));
        let mut response = (self.status, body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        self.class.mark(response.extensions_mut());
        response
    }
}

impl From<service::Error> for Error {
    fn from(error: service::Error) -> Self {
        let status = match &error {
            service::Error::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            service::Error::NotFound { .. } => StatusCode::NOT_FOUND,
            service::Error::Tripped { .. } => StatusCode::TOO_MANY_REQUESTS,
            service::Error::Unauthorized => StatusCode::UNAUTHORIZED,
            service::Error::NotAPeer => StatusCode::FORBIDDEN,
            service::Error::Wal(wal::Error::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            service::Error::Wal(_) | service::Error::Behind => StatusCode::SERVICE_UNAVAILABLE,
            service::Error::Storage(_) | service::Error::Unreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            log::error!("{error}");
        }
        let told = Self::new(status, error.kind(), error.layer(), error.to_string());
        match error {
            service::Error::Tripped { seconds, .. } => told.retry_after(seconds),
            _ => told,
        }
    }
}

impl From<Invalid> for Error {
    fn from(error: Invalid) -> Self {
        service::Error::from(error).into()
    }
}

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Self {
        Self::refused(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Error {
    fn from(rejection: PathRejection) -> Self {
        Self::refused(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Self {
        Self::refused(rejection.status(), rejection.body_text())
    }
}

/// No route fits.
pub(super) async fn not_found() -> Error {
    Error::new(
        StatusCode::NOT_FOUND,
        "not_found",
        Layer::Http,
        "there is no such path; GET /v1/routes lists all of them",
    )
}

/// A route fits, but not for this method.
pub(super) async fn method_not_allowed() -> Error {
    let message = "this path has no such method; GET /v1/routes lists all of them";
    Error::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", Layer::Http, message)
}
