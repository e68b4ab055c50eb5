//! Errors: the response that tells one carries what it is counted as, so that the two cannot drift apart.

use http::{Extensions, StatusCode};
use prometheus::IntCounterVec;

use crate::catalog::Id;
use crate::families::{Error, Families};
use crate::labels::{Label, Layer};

/// What an error counts as. A service's error type says it once, for every error that it has.
pub trait Classify {
    /// What kind of error it is: a word in lower case, one of few.
    fn kind(&self) -> &'static str;

    /// Where it comes from.
    fn layer(&self) -> Layer;

    /// Marks the response that tells this error: the HTTP layer counts it when it passes.
    ///
    /// ```
    /// # use axum::response::{IntoResponse, Response};
    /// # use stemedb_metrics::{Classify, Layer};
    /// # enum ApiError { Empty }
    /// # impl Classify for ApiError {
    /// #     fn kind(&self) -> &'static str { "invalid_request" }
    /// #     fn layer(&self) -> Layer { Layer::Validation }
    /// # }
    /// impl IntoResponse for ApiError {
    ///     fn into_response(self) -> Response {
    ///         let mut response = (http::StatusCode::BAD_REQUEST, "empty").into_response();
    ///         self.mark(response.extensions_mut());
    ///         response
    ///     }
    /// }
    /// ```
    fn mark(&self, response: &mut Extensions) {
        response.insert(Class { kind: self.kind(), layer: self.layer() });
    }
}

/// What an error counts as, as a response carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// [`Classify::kind`]
    pub kind: &'static str,
    /// [`Classify::layer`]
    pub layer: Layer,
}

impl Classify for Class {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn layer(&self) -> Layer {
        self.layer
    }
}

/// The counter of errors.
#[derive(Clone, Debug)]
pub struct Errors(IntCounterVec);

impl Errors {
    pub(crate) fn new(families: &Families) -> Result<Self, Error> {
        Ok(Self(families.counters(Id::Errors)?))
    }

    /// Counts an error that no response tells: one of a task in the background, say.
    pub fn count(&self, error: &impl Classify) {
        self.0.with_label_values(&[error.kind(), error.layer().as_str()]).inc();
    }

    /// Counts the error of a response, if it is one.
    pub(crate) fn count_response(&self, status: StatusCode, extensions: &Extensions) {
        if let Some(class) = extensions.get::<Class>() {
            self.count(class);
        } else if status.is_client_error() || status.is_server_error() {
            self.count(&unmarked(status));
        }
    }
}

/// What a response counts as that nothing has marked: the router's and the extractors' own, and those of other layers.
fn unmarked(status: StatusCode) -> Class {
    let (kind, layer) = match status.as_u16() {
        400 | 415 | 422 => ("invalid_request", Layer::Validation),
        401 | 403 => ("unauthorized", Layer::Auth),
        404 => ("not_found", Layer::Http),
        405 => ("method_not_allowed", Layer::Http),
        408 | 504 => ("timeout", Layer::Http),
        413 => ("body_too_large", Layer::Http),
        429 => ("rate_limited", Layer::Limits),
        503 => ("unavailable", Layer::Service),
        500.. => ("internal", Layer::Service),
        _ => ("client_error", Layer::Http),
    };
    Class { kind, layer }
}
