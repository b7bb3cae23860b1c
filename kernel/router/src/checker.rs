//! Active health checks: a task per instance, from its first moment in the table to its last.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::backend::Backend;
use crate::config::{HealthCheck, ServiceConfig};
use crate::health::HealthStatus;
use crate::shared::Shared;

/// A health page longer than this is not read further.
const MAX_PAGE: usize = 64 * 1024;

/// Starts checking an instance until it retires or the router stops.
pub(crate) fn start(
    shared: &Arc<Shared>,
    backend: &Arc<Backend>,
    config: watch::Receiver<Arc<ServiceConfig>>,
) {
    let task = run(Arc::clone(shared), Arc::clone(backend), config);
    shared.background.spawn(task);
}

async fn run(
    shared: Arc<Shared>,
    backend: Arc<Backend>,
    mut config: watch::Receiver<Arc<ServiceConfig>>,
) {
    let (retired, stop) = (backend.retired.clone(), shared.stop.clone());
    let checks = async {
        loop {
            let current = Arc::clone(&config.borrow_and_update());
            let Some(check) = &current.health else {
                note(&shared, &current.name, &backend, Ok(()), 1, 1);
                if config.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let result = probe(&backend, check).await;
            let (up, down) = (check.healthy_after, check.unhealthy_after);
            note(&shared, &current.name, &backend, result, up, down);
            // Failing requests ask for a check at once; this keeps them from asking all the time.
            let pause = check.interval / 10;
            tokio::time::sleep(pause).await;
            // Cancel safe: each arm only waits; a request for a check stays stored.
            tokio::select! {
                () = tokio::time::sleep(check.interval.saturating_sub(pause)) => {}
                () = backend.recheck.notified() => {}
                changed = config.changed() => if changed.is_err() { return },
            }
        }
    };
    // Cancel safe: a check that is cut off has no effect.
    tokio::select! {
        () = checks => {}
        () = retired.cancelled() => {}
        () = stop.cancelled() => {}
    }
}

fn note(
    shared: &Shared,
    service: &str,
    backend: &Backend,
    result: Result<(), String>,
    up: u32,
    down: u32,
) {
    let reason = result.as_ref().err().cloned().unwrap_or_default();
    let Some(changed) = backend.checked(result, up, down) else {
        return;
    };
    let (id, release) = (&backend.id, &backend.release);
    let (kind, text) = match changed {
        HealthStatus::Healthy => (
            "backend-healthy",
            format!("instance {id} of {release} is healthy"),
        ),
        _ => (
            "backend-unhealthy",
            format!("instance {id} of {release} is not healthy: {reason}"),
        ),
    };
    shared.events.push(kind, Some(service), text);
    shared.health_changed.notify_waiters();
}

async fn probe(backend: &Backend, check: &HealthCheck) -> Result<(), String> {
    let limit: Duration = check.timeout;
    tokio::time::timeout(limit, get(backend, &check.path))
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "GET {} gave no answer within {limit:?}",
                check.path
            ))
        })
}

/// Asks over a connection of its own, as a new client would. The connection is driven here, so
/// that nothing of it is left when the check is cut off.
async fn get(backend: &Backend, path: &str) -> Result<(), String> {
    let address = backend.address;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|e| format!("connect {address}: {e}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("GET {path}: {e}"))?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = path.parse().map_err(|e| format!("path {path}: {e}"))?;
    let host = HeaderValue::from_str(&address.to_string()).map_err(|e| e.to_string())?;
    request.headers_mut().insert(HOST, host);
    request
        .headers_mut()
        .insert(USER_AGENT, HeaderValue::from_static("code-deploy-router"));
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| format!("GET {path}: {e}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_PAGE);
        body.collect()
            .await
            .map_err(|e| format!("GET {path}: {e}"))?;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("GET {path} answered {status}"))
        }
    };
    let (answer, _) = futures::future::join(answer, connection).await;
    answer
}
