//! Backends, a router and a client for the tests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use code_deploy_router::{
    BackendAddress, ControlClient, Error, HealthCheck, HealthStatus, Lease, RouterConfig,
    ServiceConfig, Status, Weights, run, token_digest,
};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub const LIMIT: Duration = Duration::from_secs(30);
pub const TOKEN: &str = "token-of-the-run";

type Body = BoxBody<Bytes, Infallible>;
type Frames = Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync>>;

/// Waits until a condition holds.
pub async fn eventually<F, Fut>(what: &'static str, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let polls = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(LIMIT, polls).await.is_ok(),
        "never: {what}"
    );
}

/// An application instance.
pub struct App {
    pub address: SocketAddr,
    pub shared: Arc<AppShared>,
    stop: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
}

pub struct AppShared {
    pub name: String,
    pub healthy: AtomicBool,
    pub health_checks: AtomicUsize,
    pub requests: AtomicUsize,
    pub connections: AtomicUsize,
    /// `/gated` waits for a permit.
    pub gate: Semaphore,
    pub waiting: AtomicUsize,
    /// Frames of the next `/stream`.
    pub frames: Mutex<Option<mpsc::Receiver<Bytes>>>,
}

impl App {
    pub async fn start(name: &str) -> Self {
        Self::start_at(name, "127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(name: &str, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener: TcpListener = socket.listen(1024).unwrap();
        let shared = Arc::new(AppShared {
            name: name.to_owned(),
            healthy: AtomicBool::new(true),
            health_checks: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            frames: Mutex::new(None),
        });
        let app = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::clone(&shared),
            stop: CancellationToken::new(),
            hard: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        let (stop, hard, tracker) = (app.stop.clone(), app.hard.clone(), app.tracker.clone());
        app.tracker.spawn(async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = stop.cancelled() => return,
                };
                let (shared, stop, hard) = (Arc::clone(&shared), stop.clone(), hard.clone());
                let inner = tracker.clone();
                tracker.spawn(async move {
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    let served = Arc::clone(&shared);
                    let service = service_fn(move |request| {
                        answer(Arc::clone(&served), inner.clone(), request)
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades();
                    let mut connection = std::pin::pin!(connection);
                    tokio::select! {
                        _ = connection.as_mut() => {}
                        () = hard.cancelled() => {}
                        () = stop.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            tokio::select! {
                                _ = connection => {}
                                () = hard.cancelled() => {}
                            }
                        }
                    }
                    shared.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        app
    }

    /// Stops as an application does on SIGTERM.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(LIMIT, self.tracker.wait())
            .await
            .expect("the application stops");
    }

    /// Dies as an application does on SIGKILL.
    pub async fn kill(self) {
        self.hard.cancel();
        self.stop().await;
    }

    pub fn backend(&self) -> BackendAddress {
        BackendAddress::new(self.shared.name.clone(), self.address)
    }

    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    pub async fn waiting(&self, count: usize) {
        let shared = &self.shared;
        eventually("requests wait at the gate", || async move {
            shared.waiting.load(Ordering::SeqCst) == count
        })
        .await;
    }
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

async fn answer(
    app: Arc<AppShared>,
    tracker: TaskTracker,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let path = request.uri().path().to_owned();
    if path == "/health" {
        app.health_checks.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(full("health"));
        if !app.healthy.load(Ordering::SeqCst) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        return Ok(response);
    }
    app.requests.fetch_add(1, Ordering::SeqCst);
    let response = match path.as_str() {
        "/id" => Response::new(full(app.name.clone())),
        "/gated" => {
            app.waiting.fetch_add(1, Ordering::SeqCst);
            app.gate.acquire().await.unwrap().forget();
            app.waiting.fetch_sub(1, Ordering::SeqCst);
            Response::new(full(app.name.clone()))
        }
        "/echo" => Response::new(request.into_body().map_err(|e| panic!("{e}")).boxed()),
        "/headers" => {
            let mut text = String::new();
            for (name, value) in request.headers() {
                text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
            Response::builder()
                .header("x-hop", "1")
                .header("connection", "x-hop")
                .body(full(text))
                .unwrap()
        }
        "/stream" | "/events" => {
            let frames = app
                .frames
                .lock()
                .unwrap()
                .take()
                .expect("frames were given");
            let frames = futures::stream::unfold(frames, |mut frames| async move {
                frames
                    .recv()
                    .await
                    .map(|bytes| (Ok(Frame::data(bytes)), frames))
            });
            let frames: Frames = Box::pin(frames);
            let kind = if path == "/events" {
                "text/event-stream"
            } else {
                "text/plain"
            };
            let body = BodyExt::boxed(StreamBody::new(frames));
            Response::builder()
                .header("content-type", kind)
                .body(body)
                .unwrap()
        }
        "/500" => Response::builder()
            .status(500)
            .body(full("broken"))
            .unwrap(),
        "/reset" => return Err(std::io::Error::other("the application breaks off")),
        "/ws" => web_socket(&tracker, &mut request),
        _ => Response::builder().status(404).body(full("?")).unwrap(),
    };
    Ok(response)
}

fn web_socket(tracker: &TaskTracker, request: &mut Request<Incoming>) -> Response<Body> {
    let key = request.headers()["sec-websocket-key"].as_bytes().to_owned();
    let upgrade = hyper::upgrade::on(request);
    tracker.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let echoed = message.is_text() || message.is_binary();
            if echoed && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", derive_accept_key(&key))
        .body(full(""))
        .unwrap()
}

/// A running router with a client.
pub struct Router {
    pub control: ControlClient,
    pub config: RouterConfig,
    pub http: Client<HttpConnector, Full<Bytes>>,
    pub folder: Option<tempfile::TempDir>,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), Error>>,
}

impl Router {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(folder: tempfile::TempDir) -> Self {
        let base: PathBuf = folder.path().join("router");
        let config = RouterConfig::new(base.join("state.json"), base.join("control.sock"));
        let stop = CancellationToken::new();
        let task = TaskTracker::new().spawn(run(config.clone(), stop.clone()));
        let control = ControlClient::new(&config.control_socket);
        let mut started = task;
        let up = async {
            while control.status().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = up => {}
            ended = &mut started => panic!("the router did not start: {ended:?}"),
        }
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self {
            control,
            config,
            http,
            folder: Some(folder),
            stop,
            task: started,
        }
    }

    /// Stops as on SIGTERM; returns the folder for the next one.
    pub async fn stop(mut self) -> tempfile::TempDir {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, &mut self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        self.folder.take().unwrap()
    }

    /// Starts the next router, which takes over from this one; returns it when it serves, with the task of this one.
    pub async fn succeed(self, limit: Duration) -> (Self, JoinHandle<Result<(), Error>>) {
        let before = self.status().await.started_us;
        let stop = CancellationToken::new();
        let mut config = self.config.clone();
        config.take_over = Some(limit);
        let mut task = TaskTracker::new().spawn(run(config, stop.clone()));
        let serves = eventually("the next router serves", || async {
            self.status().await.started_us != before
        });
        tokio::select! {
            () = serves => {}
            ended = &mut task => panic!("the next router did not take over: {ended:?}"),
        }
        let next = Self {
            control: self.control,
            config: self.config,
            http: self.http,
            folder: self.folder,
            stop,
            task,
        };
        (next, self.task)
    }

    /// Puts a service without health checks; returns its address.
    pub async fn service(&self, name: &str) -> SocketAddr {
        self.service_with(name, |_| {}).await
    }

    pub async fn service_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut ServiceConfig),
    ) -> SocketAddr {
        let mut config = ServiceConfig::new(name, "127.0.0.1:0".parse().unwrap());
        config.override_token_sha256 = Some(token_digest(TOKEN));
        change(&mut config);
        self.control.put_service(config).await.unwrap().address
    }

    pub async fn release(&self, service: &str, release: &str, apps: &[&App]) {
        let backends = apps.iter().map(|app| app.backend()).collect();
        self.control
            .put_release(service, release, backends)
            .await
            .unwrap();
    }

    pub async fn lease(&self, service: &str, stable: &str) {
        let lease = lease(service, stable, Duration::from_secs(600));
        self.control.lease(Some(lease)).await.unwrap();
    }

    pub async fn weights(&self, service: &str, weights: &[(&str, u16)]) -> Result<(), Error> {
        self.control
            .set_weights([(service.to_owned(), percent(weights))].into())
            .await
    }

    pub async fn get(&self, address: SocketAddr, path: &str) -> Answer {
        self.send(Method::GET, address, path, &[], "").await
    }

    pub async fn send(
        &self,
        method: Method,
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answered = async {
            let response = self.http.request(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let text = body
                .collect()
                .await
                .map(|b| String::from_utf8(b.to_bytes().to_vec()).unwrap());
            Answer {
                status: parts.status,
                headers: parts.headers,
                text: text.ok(),
            }
        };
        tokio::time::timeout(LIMIT, answered)
            .await
            .expect("an answer")
    }

    pub async fn status(&self) -> Status {
        self.control.status().await.unwrap()
    }

    pub async fn health_of(&self, service: &str, id: &str) -> Option<HealthStatus> {
        let status = self.status().await;
        let releases = &status.services[service].releases;
        let mut backends = releases.iter().flat_map(|release| &release.backends);
        backends
            .find(|backend| backend.id == id)
            .map(|backend| backend.health)
    }
}

/// An answer; no text when the body broke off.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: Option<String>,
}

impl Answer {
    pub fn text(&self) -> &str {
        self.text.as_deref().expect("a whole body")
    }

    pub fn reason(&self) -> Option<&str> {
        self.header("x-code-deploy-router")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub fn percent(weights: &[(&str, u16)]) -> Weights {
    weights
        .iter()
        .map(|(release, weight)| ((*release).to_owned(), *weight))
        .collect()
}

pub fn lease(service: &str, stable: &str, ttl: Duration) -> Lease {
    let stable = [(service.to_owned(), stable.to_owned())].into();
    Lease {
        holder: "run-1".to_owned(),
        ttl,
        stable,
    }
}

pub fn fast_health() -> HealthCheck {
    let mut check = HealthCheck::new("/health");
    check.interval = Duration::from_millis(20);
    check
}

#[track_caller]
pub fn refused(result: Result<impl std::fmt::Debug, Error>, code: &str) {
    match result {
        Err(Error::Refused { code: found, .. }) => assert_eq!(found, code),
        other => panic!("expected a refusal with {code}, not {other:?}"),
    }
}
