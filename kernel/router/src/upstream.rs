//! One exchange with a backend over one connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::counting::{CountingStream, Moved};
use crate::outgoing::ForwardBody;

/// An HTTP/1.1 connection to a backend, together with what has moved over it.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<ForwardBody>,
    moved: Arc<Moved>,
    reused: bool,
}

/// How an attempt ended that brought no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection: refused or unreachable.
    Connect,
    /// No connection within the limit.
    ConnectTimeout,
    /// The connection ended or broke before the head of a response.
    Reset,
    /// No head of a response within the limit.
    Timeout,
    /// Cut at the end of a drain.
    Cut,
    /// The router stops and cannot wait any longer.
    Stopping,
    /// The client broke its body off.
    ClientBroke,
    /// The client sent nothing of its body for as long as a response may take.
    ClientSlow,
}

impl FailureKind {
    /// Tells whether the backend is the one who failed.
    pub(crate) fn is_backends(self) -> bool {
        !matches!(
            self,
            Self::Cut | Self::Stopping | Self::ClientBroke | Self::ClientSlow
        )
    }
}

/// An attempt that brought no response, with what a retry needs to know.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// The request, untouched, where it was never begun.
    pub(crate) unsent: Option<Request<ForwardBody>>,
    /// Whether any byte of the request left.
    pub(crate) sent: bool,
    /// Whether any byte of a response came.
    pub(crate) received: bool,
    /// Whether the connection had served earlier requests.
    pub(crate) reused: bool,
}

impl Failure {
    /// Returns a failure before anything moved.
    pub(crate) fn unsent(kind: FailureKind, request: Request<ForwardBody>) -> Self {
        Self {
            kind,
            unsent: Some(request),
            sent: false,
            received: false,
            reused: false,
        }
    }
}

impl Connection {
    /// Tells whether a request can be sent now.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Tells whether the other side has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Opens a connection; its task belongs to `tracker` and ends at `hard` at the latest.
    pub(crate) async fn open(
        address: SocketAddr,
        limit: Duration,
        header_bytes: usize,
        tracker: &TaskTracker,
        hard: &CancellationToken,
    ) -> Result<Self, FailureKind> {
        let stream = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return Err(FailureKind::Connect),
            Err(_) => return Err(FailureKind::ConnectTimeout),
        };
        // Without it small requests can wait 40 ms for an acknowledgement.
        if stream.set_nodelay(true).is_err() {
            return Err(FailureKind::Connect);
        }
        let moved = Arc::new(Moved::default());
        let io = TokioIo::new(CountingStream::new(stream, Arc::clone(&moved)));
        let (sender, connection) = Builder::new()
            .max_buf_size(header_bytes.max(64 * 1024))
            .max_header_size(header_bytes)
            .handshake(io)
            .await
            .map_err(|_| FailureKind::Connect)?;
        let hard = hard.clone();
        tracker.spawn(async move {
            // Cancel safe: both ends only drop the connection.
            tokio::select! {
                ended = connection.with_upgrades() => {
                    if let Err(error) = ended {
                        tracing::debug!(%address, %error, "connection to backend ended");
                    }
                }
                () = hard.cancelled() => {}
            }
        });
        Ok(Self {
            sender,
            moved,
            reused: false,
        })
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(crate) async fn exchange(
        mut self,
        request: Request<ForwardBody>,
        limit: Duration,
        cut: &CancellationToken,
        hard: &CancellationToken,
    ) -> Result<(Response<Incoming>, Self), Failure> {
        let before = self.moved.snapshot();
        let progress = request.body().progress();
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let timed_out = async {
            let mut from = tokio::time::Instant::now();
            loop {
                tokio::time::sleep_until(from + limit).await;
                match progress.as_ref().map(|progress| progress.last()) {
                    Some(last) if last > from => from = last,
                    _ => return,
                }
            }
        };
        // Cancel safe: whichever arm loses is dropped, and with it the connection. In order, because
        // the connection ends at a hard stop too, which is not the backend's doing.
        let (kind, unsent) = tokio::select! {
            biased;
            () = hard.cancelled() => (FailureKind::Stopping, None),
            () = cut.cancelled() => (FailureKind::Cut, None),
            answered = &mut answer => match answered {
                Ok(response) => {
                    self.reused = true;
                    return Ok((response, self));
                }
                Err(mut error) => (FailureKind::Reset, error.take_message()),
            },
            () = timed_out => (FailureKind::Timeout, None),
        };
        let kind = match (kind, &progress) {
            (FailureKind::Reset, Some(body)) if body.is_broken() => FailureKind::ClientBroke,
            (FailureKind::Timeout, Some(body)) if body.is_awaited() => FailureKind::ClientSlow,
            _ => kind,
        };
        let (sent, received) = self.moved.since(before);
        Err(Failure {
            kind,
            unsent,
            sent,
            received,
            reused: self.reused,
        })
    }
}
