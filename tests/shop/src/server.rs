//! Listening, answering, and ending without losing a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Config;
use crate::error::Error;
use crate::log::{Log, LogWriter};

/// Longer than any proxy in front keeps an idle connection, so that it is the proxy that ends it.
const IDLE: Duration = Duration::from_secs(75);

/// How long to wait after the operating system could not hand over a connection, such as for
/// want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Runs a service until `shutdown` is cancelled and its requests are done.
///
/// # Errors
/// Any [`Error`] of start and end; [`Error::GraceExceeded`] when requests had to be cut.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    Server::bind(config).await?.run(shutdown).await
}

/// A service that listens and does not answer yet.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    drain: Duration,
    grace: Duration,
    writer: LogWriter,
}

impl Server {
    /// Opens what the service needs and listens. The first log line holds the bound address.
    ///
    /// # Errors
    /// [`Error::Bind`], [`Error::Database`] and [`Error::MissingSetting`].
    pub async fn bind(config: Config) -> Result<Self, Error> {
        let listen = config.listen;
        let bind = |source| Error::Bind {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (log, writer) = Log::start(config.log.clone(), config.service, &config.release);
        let app = App::new(&config, log).await?;
        let fields = json!({
            "address": address.to_string(),
            "port": address.port(),
            "pid": std::process::id(),
            "fault": format!("{:?}", config.fault.kind).to_lowercase(),
        });
        app.log.write("info", "listening", fields);
        let (drain, grace) = (config.drain, config.grace);
        Ok(Server {
            app,
            listener,
            address,
            drain,
            grace,
            writer,
        })
    }

    /// Returns where the service listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is cancelled, then drains: the readiness turns false at once,
    /// connections are accepted for the drain time, answers close their connections, and
    /// requests under way have the grace time to finish.
    ///
    /// # Errors
    /// [`Error::GraceExceeded`] when requests had to be cut, [`Error::InjectedCrash`] when the
    /// fault `crash` ended the service.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Server {
            app,
            listener,
            drain,
            grace,
            writer,
            ..
        } = self;
        let mut connections = Connections::new(Arc::clone(&app));
        let crashed = app.crashed.clone();
        let ended = tokio::select! {
            ended = until_drained(&app, listener, &mut connections, shutdown, drain) => ended,
            () = crashed.cancelled() => {
                let after = app.injector.crash_after();
                app.log.write("error", "crash", json!({ "fault": "crash", "after": after }));
                writer.close().await;
                // Returning drops every connection without an answer, as a crash does.
                return Err(Error::InjectedCrash { after });
            }
        };
        let result = match ended {
            Ok(()) => connections.finish(grace).await,
            Err(error) => Err(error),
        };
        if let Some(store) = &app.dependencies.store {
            store.close().await;
        }
        let state = result.as_ref().err().map(ToString::to_string);
        app.log.write("info", "stopped", json!({ "cut": state }));
        writer.close().await;
        result
    }
}

async fn until_drained(
    app: &App,
    listener: TcpListener,
    connections: &mut Connections,
    shutdown: CancellationToken,
    drain: Duration,
) -> Result<(), Error> {
    tokio::select! {
        () = connections.accept(&listener) => {}
        () = shutdown.cancelled() => {}
    }
    app.draining.cancel();
    let drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
    app.log
        .write("info", "draining", json!({ "drain_ms": drain_ms }));
    // The end of the drain time is the expected end of this wait.
    let _elapsed = tokio::time::timeout(drain, connections.accept(&listener)).await;
    Ok(())
}

/// All open connections; dropping this cuts them.
struct Connections {
    routes: Router,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(app: Arc<App>) -> Self {
        Connections {
            routes: app.router(),
            graceful: GracefulShutdown::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Accepts connections, forever. Cancel safe: a connection is either not taken from the
    /// listener or has its task.
    async fn accept(&mut self, listener: &TcpListener) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.begin(stream, peer),
                    Err(_shortage) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(_ended) = self.tasks.join_next() => {}
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let routes = self.routes.clone().layer(Extension(peer));
        self.tasks
            .spawn(converse(stream, routes, self.graceful.watcher()));
    }

    async fn finish(self, grace: Duration) -> Result<(), Error> {
        let Connections {
            graceful,
            mut tasks,
            ..
        } = self;
        if tokio::time::timeout(grace, graceful.shutdown())
            .await
            .is_ok()
        {
            return Ok(());
        }
        while tasks.try_join_next().is_some() {}
        Err(Error::GraceExceeded {
            limit: grace,
            connections: tasks.len(),
        })
    }
}

async fn converse(stream: TcpStream, routes: Router, watcher: Watcher) {
    // Only costs latency when it cannot be set.
    let _unset = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // A connection that the client broke is the client's matter; its request has its log line.
    let _broken = watcher.watch(connection).await;
}
