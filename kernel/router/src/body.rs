//! The body of a response on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::backend::InFlight;
use crate::tally::{FailureClass, Measure};
use crate::upstream::Connection;

/// The body of a response: the router's own, or passed on from a backend as it comes.
#[derive(Debug)]
pub(crate) enum RouterBody {
    /// Written by the router.
    Own(Option<Bytes>),
    /// From a backend.
    Passed(Box<PassedBody>),
}

/// A body that is passed on; it keeps its request counted as in flight until it ends.
#[derive(Debug)]
pub(crate) struct PassedBody {
    incoming: Incoming,
    exchange: Option<Exchange>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// What ends with a response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) in_flight: InFlight,
    pub(crate) connection: Connection,
    pub(crate) measure: Measure,
}

impl Exchange {
    /// The body arrived whole: the connection can be used again.
    fn complete(self) {
        self.in_flight
            .backend()
            .pool
            .give(self.connection, Instant::now());
    }

    /// The backend broke off.
    fn broken(mut self) {
        self.measure.failed(FailureClass::Reset);
    }
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The backend broke off.
    #[error("the backend broke off its response")]
    Backend(#[source] hyper::Error),
    /// The drain limit passed.
    #[error("the response was cut at the end of a drain")]
    Cut,
}

impl RouterBody {
    /// Passes a backend's body on.
    pub(crate) fn pass(incoming: Incoming, exchange: Exchange) -> Self {
        let cut = exchange.in_flight.backend().cut.clone().cancelled_owned();
        let mut body = PassedBody {
            incoming,
            exchange: Some(exchange),
            cut: Box::pin(cut),
        };
        body.end_if_complete();
        Self::Passed(Box::new(body))
    }
}

impl PassedBody {
    fn end_if_complete(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(exchange) = self.exchange.take()
        {
            exchange.complete();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.end_if_complete();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(exchange) = self.exchange.take() {
                    exchange.broken();
                }
                Poll::Ready(Some(Err(BodyError::Backend(error))))
            }
            Poll::Ready(None) => {
                if let Some(exchange) = self.exchange.take() {
                    exchange.complete();
                }
                Poll::Ready(None)
            }
            Poll::Pending => {
                std::task::ready!(self.cut.as_mut().poll(cx));
                match self.exchange.take() {
                    Some(exchange) => {
                        exchange.broken();
                        Poll::Ready(Some(Err(BodyError::Cut)))
                    }
                    None => Poll::Pending,
                }
            }
        }
    }
}

impl Body for RouterBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Passed(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Passed(body) => body.incoming.size_hint(),
        }
    }
}
