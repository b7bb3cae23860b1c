//! What the API server wants of whoever asks it: to be asked later, and what it warns of.
//!
//! A server that has too much to do refuses with `Retry-After`, the number of seconds after which it may be asked again
//! (<https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>). Until then nothing is asked of it, on
//! behalf of whatever.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{HeaderMap, RETRY_AFTER, WARNING};
use http::{Request, Response, StatusCode};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tokio::time::Instant;
use tower::{Layer, Service};

/// How long a server is left alone at most, whatever it wants: the Lease of a run has to be renewed meanwhile.
const LONGEST: Duration = Duration::from_secs(10);

/// How the paths end by which a pod is evicted. What a budget says of one pod is nothing about the server.
const EVICTION: &str = "/eviction";

/// Until when the server wants to be left alone. Clones are of one server.
#[derive(Debug, Clone, Default)]
pub struct Patience(Arc<Mutex<Option<Instant>>>);

impl Patience {
    /// Returns until when nothing is to be asked, where that is not over.
    pub fn until(&self) -> Option<Instant> {
        let told = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.filter(|until| *until > Instant::now())
    }

    /// Waits until the server may be asked, as far as it has said.
    pub async fn passed(&self) {
        if let Some(until) = self.until() {
            tokio::time::sleep_until(until).await;
        }
    }

    fn note(&self, status: StatusCode, headers: &HeaderMap) {
        let refuses = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        let later = headers.get(RETRY_AFTER).filter(|_| refuses);
        let later = later.and_then(|later| later.to_str().ok()?.trim().parse().ok());
        let Some(seconds) = later else { return };
        let until = Instant::now() + Duration::from_secs(seconds).min(LONGEST);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *told = (*told).max(Some(until));
    }
}

fn tell_warnings(headers: &HeaderMap) {
    for warning in headers.get_all(WARNING) {
        let said = String::from_utf8_lossy(warning.as_bytes());
        tracing::warn!(%said, "the cluster warns");
    }
}

/// Returns a client that asks no earlier than the server wants. Whatever is to be asked again, and when, is known to who
/// asks alone.
///
/// # Errors
/// That no client can be made with these certificates and keys.
pub fn client(mut config: Config, patience: &Patience) -> kube::Result<Client> {
    config.default_retry = false;
    let built = ClientBuilder::try_from(config)?;
    Ok(built.with_layer(patience).build())
}

impl<S> Layer<S> for Patience {
    type Service = Patient<S>;

    fn layer(&self, inner: S) -> Patient<S> {
        Patient {
            inner,
            patience: self.clone(),
        }
    }
}

/// Asks a server through another service, and no earlier than it wants.
pub struct Patient<S> {
    inner: S,
    patience: Patience,
}

impl<S, B> Service<Request<Body>> for Patient<S>
where
    S: Service<Request<Body>, Response = Response<B>> + 'static,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_eviction = request.uri().path().ends_with(EVICTION);
        // It is sent once its answer is waited for, not before.
        let answer = self.inner.call(request);
        let patience = self.patience.clone();
        Box::pin(async move {
            patience.passed().await;
            let answer = answer.await?;
            tell_warnings(answer.headers());
            if !is_eviction {
                patience.note(answer.status(), answer.headers());
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;

    use tower::ServiceExt as _;

    use super::*;

    /// Returns a server that answers so, and says what it warns of.
    fn answering(
        patience: &Patience,
        status: u16,
        after: &'static str,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
        let server = tower::service_fn(move |_: Request<Body>| async move {
            let answer = Response::builder().status(status);
            let answer = answer
                .header(RETRY_AFTER, after)
                .header(WARNING, "299 - \"old\"");
            Ok::<_, Infallible>(answer.body(Body::empty()).unwrap())
        });
        patience.layer(server)
    }

    async fn ask(
        server: impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    ) {
        ask_at("/api/v1/pods", server).await;
    }

    async fn ask_at(
        path: &str,
        server: impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    ) {
        let request = Request::post(path).body(Body::empty()).unwrap();
        server.oneshot(request).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_before_the_server_wants_it() {
        let patience = Patience::default();
        let begin = Instant::now();
        ask(answering(&patience, 429, "7")).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(patience.until(), Some(begin + Duration::from_secs(7)));
        ask(answering(&patience, 200, "9")).await;
        assert!(begin.elapsed() >= Duration::from_secs(7));
        // An answer asks for no patience.
        assert_eq!(patience.until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_server_is_waited_for_longer_than_a_lease_allows() {
        let patience = Patience::default();
        let begin = Instant::now();
        ask(answering(&patience, 503, "86400")).await;
        assert_eq!(patience.until(), Some(begin + LONGEST));
        let other = Patience::default();
        ask(answering(&other, 429, "Wed, 21 Oct 2026 07:28:00 GMT")).await;
        ask(answering(&other, 404, "7")).await;
        assert_eq!(other.until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_of_one_pod_holds_nobody_else_up() {
        let patience = Patience::default();
        let path = "/api/v1/namespaces/shop/pods/api-1/eviction";
        ask_at(path, answering(&patience, 429, "7")).await;
        assert_eq!(patience.until(), None);
    }
}
