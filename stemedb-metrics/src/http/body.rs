//! The time until the last byte of a response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use super::Exchange;

pin_project! {
    /// The body of a measured response. The exchange ends with its last frame, or when it is dropped before.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        inner: B,
        exchange: Option<Exchange>,
    }
}

impl<B: http_body::Body> Body<B> {
    pub(super) fn new(inner: B, mut exchange: Option<Exchange>) -> Self {
        // A body without frames is not asked for one.
        if inner.is_end_stream() || exchange.as_ref().is_some_and(Exchange::has_no_body) {
            finish(&mut exchange);
        }
        Self { inner, exchange }
    }
}

/// The end of an exchange of which the client gets everything.
fn finish(exchange: &mut Option<Exchange>) {
    if let Some(mut exchange) = exchange.take() {
        exchange.is_whole = true;
    }
}

impl<B: http_body::Body> http_body::Body for Body<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(context));
        match &frame {
            None => finish(this.exchange),
            Some(Err(_)) => drop(this.exchange.take()),
            // A server may not ask again after the last frame of a body that says it is the last.
            Some(Ok(_)) if this.inner.is_end_stream() => finish(this.exchange),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
