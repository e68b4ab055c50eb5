//! The time until there is a response.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::{Body, Exchange};

pin_project! {
    /// What a measured service gives.
    #[must_use = "futures do nothing unless they are polled"]
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, exchange: Exchange) -> Self {
        Self { inner, exchange: Some(exchange) }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body,
{
    type Output = Result<Response<Body<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(context));
        let mut exchange = this.exchange.take();
        Poll::Ready(match result {
            Ok(response) => {
                if let Some(exchange) = &mut exchange {
                    exchange.responded(response.status(), response.extensions());
                }
                Ok(response.map(|body| Body::new(body, exchange)))
            }
            Err(error) => {
                if let Some(exchange) = &mut exchange {
                    exchange.failed();
                }
                Err(error)
            }
        })
    }
}
