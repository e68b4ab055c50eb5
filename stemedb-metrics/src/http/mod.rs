//! A `tower` layer that sees every request and every response, whatever the handlers are.

mod body;
mod future;
mod labels;
mod layer;
mod route;

use std::sync::Arc;
use std::time::Instant;

use http::{Extensions, StatusCode};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge};

pub use body::Body;
pub use future::ResponseFuture;
pub use labels::{OTHER, UNMATCHED};
pub use layer::{HttpLayer, HttpService};
#[cfg(feature = "axum")]
pub use route::Matched;
pub use route::Route;

use crate::catalog::Id;
use crate::errors::Errors;
use crate::families::{Error, Families};
use labels::Templates;

/// nginx' status for a client that went before there was a response; no server sends it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// HTTP metrics.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    requests: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGauge,
    aborted: IntCounterVec,
    errors: Errors,
    templates: Templates,
}

impl Http {
    pub(crate) fn new(families: &Families, errors: Errors) -> Result<Self, Error> {
        Ok(Self {
            requests: families.counters(Id::HttpRequests)?,
            durations: families.histograms(Id::HttpDuration)?,
            in_flight: families.level(Id::HttpInFlight)?,
            aborted: families.counters(Id::HttpAborted)?,
            errors,
            templates: Templates::default(),
        })
    }

    fn begin(&self, method: &http::Method, template: Option<&str>) -> Exchange {
        let (method, path) = (labels::method(method), self.templates.label(template));
        let labels = [method, &*path];
        self.requests.with_label_values(&labels).inc();
        self.in_flight.inc();
        // There from the route's first request, so that the first one that is aborted is an increase.
        let aborted = self.aborted.with_label_values(&labels);
        Exchange { method, path, aborted, status: None, is_whole: false, begin: Instant::now(), http: self.clone() }
    }
}

/// A request and its response, from begin to end. The end is when it is dropped: that comes whatever happens.
#[derive(Debug)]
struct Exchange {
    method: &'static str,
    path: Arc<str>,
    aborted: IntCounter,
    /// `None` until there is a response.
    status: Option<StatusCode>,
    /// Whether the client got all of it, as far as that can be known.
    is_whole: bool,
    begin: Instant,
    http: Http,
}

impl Exchange {
    /// Whether no body follows, whatever the handler has made (RFC 9110, 6.4.1).
    fn has_no_body(&self) -> bool {
        let bodiless = |status: StatusCode| {
            status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        };
        self.method == "HEAD" || self.status.is_some_and(bodiless)
    }

    fn responded(&mut self, status: StatusCode, extensions: &Extensions) {
        self.status = Some(status);
        self.http.errors.count_response(status, extensions);
    }

    /// The inner service has failed where it should have answered: no response, and the server ends the connection.
    fn failed(&mut self) {
        self.responded(StatusCode::INTERNAL_SERVER_ERROR, &Extensions::new());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // A panic that nothing below has caught ends the connection; what the client would have got is a 500.
        if self.status.is_none() && std::thread::panicking() {
            self.failed();
        }
        let status = self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16());
        let mut digits = [0; 3];
        let labels = [self.method, &*self.path, labels::status(status, &mut digits)];
        let duration = self.http.durations.with_label_values(&labels);
        duration.observe(self.begin.elapsed().as_secs_f64());
        if !self.is_whole {
            self.aborted.inc();
        }
        self.http.in_flight.dec();
    }
}
