//! The layer and its service.

use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::{Body, Http, ResponseFuture, Route};

/// Measures every request of a service. [`Metrics::http`](crate::Metrics::http) makes it.
#[derive(Clone, Debug)]
pub struct HttpLayer<R> {
    http: Http,
    route: R,
}

impl<R> HttpLayer<R> {
    pub(crate) fn new(http: Http, route: R) -> Self {
        Self { http, route }
    }
}

impl<S, R: Clone> Layer<S> for HttpLayer<R> {
    type Service = HttpService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        HttpService { inner, layer: self.clone() }
    }
}

/// A service that is measured.
#[derive(Clone, Debug)]
pub struct HttpService<S, R> {
    inner: S,
    layer: HttpLayer<R>,
}

impl<S, R, Q, B> Service<Request<Q>> for HttpService<S, R>
where
    S: Service<Request<Q>, Response = Response<B>>,
    R: Route,
    B: http_body::Body,
{
    type Response = Response<Body<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let template = self.layer.route.template(request.extensions(), request.uri());
        let exchange = self.layer.http.begin(request.method(), template);
        ResponseFuture::new(self.inner.call(request), exchange)
    }
}
