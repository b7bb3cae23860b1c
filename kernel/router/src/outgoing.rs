//! The request as it goes to a backend.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;

/// The body of a request on its way to a backend.
#[derive(Debug)]
pub(crate) enum ForwardBody {
    /// None.
    Empty,
    /// Kept in memory, so that it can be sent again.
    Kept(Option<Bytes>),
    /// Passed on as it comes.
    Streamed(Incoming, Arc<Progress>),
}

/// How a streamed body moves.
#[derive(Debug)]
pub(crate) struct Progress {
    base: Instant,
    last_us: AtomicU64,
    awaited: AtomicBool,
    broken: AtomicBool,
}

impl Progress {
    fn begin() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            last_us: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }

    fn note<T>(&self, polled: &Poll<Option<Result<T, hyper::Error>>>) {
        self.awaited.store(polled.is_pending(), Ordering::Release);
        match polled {
            Poll::Ready(Some(Err(_))) => self.broken.store(true, Ordering::Release),
            Poll::Ready(_) => self.moved(),
            Poll::Pending => {}
        }
    }

    /// Tells whether the client broke the body off.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Tells whether the client is the one who is waited for.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Acquire)
    }

    fn moved(&self) {
        let elapsed = u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(elapsed, Ordering::Release);
    }

    /// Returns when the body last moved.
    pub(crate) fn last(&self) -> Instant {
        self.base + Duration::from_micros(self.last_us.load(Ordering::Acquire))
    }
}

impl ForwardBody {
    /// Takes over the body of a client's request. One that is idempotent and whose length is known
    /// and at most `keep` bytes is read first, so that it can be sent again.
    pub(crate) async fn of(
        incoming: Incoming,
        method: &Method,
        keep: u64,
        limit: Duration,
    ) -> Result<Self, BodyNotRead> {
        if incoming.is_end_stream() {
            return Ok(Self::Empty);
        }
        let short = incoming
            .size_hint()
            .exact()
            .is_some_and(|length| length <= keep);
        if !short || !method.is_idempotent() {
            return Ok(Self::Streamed(incoming, Progress::begin()));
        }
        match tokio::time::timeout(limit, incoming.collect()).await {
            Ok(Ok(body)) => Ok(Self::Kept(Some(body.to_bytes()))),
            Ok(Err(_)) => Err(BodyNotRead::Broken),
            Err(_) => Err(BodyNotRead::TooSlow),
        }
    }

    /// Returns a second one of the same content, if that is possible.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Kept(bytes) => Some(Self::Kept(bytes.clone())),
            Self::Streamed(..) => None,
        }
    }

    /// Returns the handle that tells how a streamed body moves.
    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Streamed(_, progress) => Some(Arc::clone(progress)),
            Self::Empty | Self::Kept(_) => None,
        }
    }
}

/// Why the body of a client's request could not be read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyNotRead {
    Broken,
    TooSlow,
}

/// Returns a second request of the same content, if that is possible.
pub(crate) fn again(request: &Request<ForwardBody>) -> Option<Request<ForwardBody>> {
    let mut second = Request::new(request.body().again()?);
    *second.method_mut() = request.method().clone();
    *second.uri_mut() = request.uri().clone();
    *second.headers_mut() = request.headers().clone();
    Some(second)
}

impl Body for ForwardBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Kept(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(incoming, progress) => {
                let polled = Pin::new(incoming).poll_frame(cx);
                progress.note(&polled);
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept(bytes) => bytes.is_none(),
            Self::Streamed(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Kept(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Streamed(incoming, _) => incoming.size_hint(),
        }
    }
}
