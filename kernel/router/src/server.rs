//! The listener of one service and its client connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::RouterBody;
use crate::config::ServiceConfig;
use crate::error::Error;
use crate::proxy::Proxy;
use crate::shared::Shared;

/// Pause after the operating system refuses a connection, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection may take to end after everything under way was cut.
const LAST_WORD: Duration = Duration::from_millis(500);
/// How long a connection that is not used is kept after another router took over: only a request can be
/// answered with the word that it ends, and one may be on its way.
const LEFT_UNUSED: Duration = Duration::from_secs(10);
/// Most requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// A service that is being listened for.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) config: watch::Sender<Arc<ServiceConfig>>,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Another handle on the socket, for the keeper; none once the router stops.
    copy: Option<OwnedFd>,
    stop: CancellationToken,
}

/// Binds the address of a service.
///
/// # Errors
/// [`Error::Listen`] when the address is taken or not allowed.
pub(crate) async fn bind(config: &ServiceConfig) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = TcpListener::bind(config.listen).await;
    listener
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|source| cannot_listen(config, source))
}

/// Goes on with a socket that the keeper held.
///
/// # Errors
/// [`Error::Listen`] when the operating system refuses it.
pub(crate) fn adopt(
    config: &ServiceConfig,
    kept: std::net::TcpListener,
) -> Result<(TcpListener, SocketAddr), Error> {
    let adopted = kept
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(kept));
    adopted
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|source| cannot_listen(config, source))
}

fn cannot_listen(config: &ServiceConfig, source: std::io::Error) -> Error {
    Error::Listen {
        service: config.name.clone(),
        address: config.listen,
        source,
    }
}

impl Listener {
    /// Begins to accept connections.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        socket: TcpListener,
        address: SocketAddr,
        config: watch::Sender<Arc<ServiceConfig>>,
    ) -> Self {
        let stop = shared.stop.child_token();
        let connections = Arc::new(AtomicUsize::new(0));
        let proxy = Arc::new(Proxy {
            service: config.borrow().name.as_str().into(),
            config: config.subscribe(),
            shared: Arc::clone(shared),
        });
        let copy = socket
            .as_fd()
            .try_clone_to_owned()
            .inspect_err(|error| tracing::warn!(%error, "a socket cannot be kept"))
            .ok();
        let task = accept(socket, proxy, stop.clone(), Arc::clone(&connections));
        shared.work.spawn(task);
        Self {
            address,
            config,
            connections,
            copy,
            stop,
        }
    }

    /// Returns another handle on the socket, for the keeper.
    pub(crate) fn copy(&self) -> Option<OwnedFd> {
        self.copy.as_ref()?.try_clone().ok()
    }

    /// Closes the handle that is for the keeper, so that the port closes when nobody accepts.
    pub(crate) fn close_copy(&mut self) {
        self.copy = None;
    }

    /// Stops accepting; requests under way go on.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

async fn accept(
    socket: TcpListener,
    proxy: Arc<Proxy>,
    stop: CancellationToken,
    open: Arc<AtomicUsize>,
) {
    let most = proxy.config.borrow().limits.connections;
    let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let shared = Arc::clone(&proxy.shared);
    // Cancel safe: both arms only wait.
    tokio::select! {
        () = shared.begun.cancelled() => {}
        () = stop.cancelled() => return,
    }
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((permit, socket.accept().await))
        };
        // Cancel safe: an accepted connection is returned by the same poll that accepts it.
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = stop.cancelled() => return,
            () = shared.handed.cancelled() => return,
        };
        let Some((permit, accepted)) = accepted else {
            return;
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(service = %proxy.service, %error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let work = proxy.shared.work.clone();
        let (proxy, stop, open) = (Arc::clone(&proxy), stop.clone(), Arc::clone(&open));
        work.spawn(async move {
            open.fetch_add(1, Ordering::Relaxed);
            serve(stream, peer, proxy, stop).await;
            open.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, proxy: Arc<Proxy>, stop: CancellationToken) {
    let config = Arc::clone(&proxy.config.borrow());
    let shared = Arc::clone(&proxy.shared);
    // Without it small responses can wait 40 ms for an acknowledgement.
    if stream.set_nodelay(true).is_err() || !speaks(&stream, &config, &stop, &shared).await {
        return;
    }
    let builder = builder(&config, &shared.work);
    let http2 = CancellationToken::new();
    let speaks_http2 = http2.clone();
    let service = service_fn(move |request| {
        let (proxy, http2) = (Arc::clone(&proxy), speaks_http2.clone());
        async move { Ok::<_, Infallible>(answer(&proxy, request, peer, &http2).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Cancel safe: the connection is polled on in the second stage, and dropped only after it.
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = left(&shared, &http2) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = shared.hard.cancelled() => last_word(connection).await,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "client connection ended");
    }
}

/// Answers one request. Once another router has taken over, the answer says that its connection ends:
/// the client makes a new one for its next request.
async fn answer(
    proxy: &Proxy,
    request: Request<Incoming>,
    peer: SocketAddr,
    http2: &CancellationToken,
) -> http::Response<RouterBody> {
    let is_http2 = request.version() == Version::HTTP_2;
    if is_http2 {
        http2.cancel();
    }
    let mut response = proxy.handle(request, peer).await;
    let stays = is_http2 || response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if proxy.shared.handed.is_cancelled() && !stays {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Waits until a connection is to end because another router has taken over: at once where the protocol
/// can say so without a request being lost, otherwise when no request has come for a while.
async fn left(shared: &Shared, http2: &CancellationToken) {
    shared.handed.cancelled().await;
    // Cancel safe: both arms only wait.
    tokio::select! {
        () = http2.cancelled() => {}
        () = tokio::time::sleep(LEFT_UNUSED) => {}
    }
}

/// Lets the answer out that tells a client why its request was cut.
async fn last_word<E>(connection: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    tokio::time::timeout(LAST_WORD, connection)
        .await
        .unwrap_or(Ok(()))
}

/// Waits for the client's first byte, which hyper does without a limit.
async fn speaks(
    stream: &TcpStream,
    config: &ServiceConfig,
    stop: &CancellationToken,
    shared: &Shared,
) -> bool {
    let readable = tokio::time::timeout(config.timeouts.client_header, stream.readable());
    let unknown = CancellationToken::new();
    // Cancel safe: each arm only waits.
    tokio::select! {
        readable = readable => matches!(readable, Ok(Ok(()))),
        () = stop.cancelled() => false,
        () = left(shared, &unknown) => false,
    }
}

fn builder(config: &ServiceConfig, work: &TaskTracker) -> Builder<TrackedExecutor> {
    let header_bytes = config.limits.header_bytes;
    let mut builder = Builder::new(TrackedExecutor(work.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.timeouts.client_header)
        .max_buf_size(header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(config.timeouts.client_header)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX));
    builder
}

/// Runs hyper's tasks as tracked ones.
#[derive(Clone, Debug)]
struct TrackedExecutor(TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
