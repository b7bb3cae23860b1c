//! Sends one request and says what became of it.

use std::borrow::Cow;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::mix::Prepared;
use super::outcome::{Cause, Outcome};
use super::{ClientConfig, LoadError};
use crate::error::with_sources;
use crate::tls::{self, TlsConnector};

/// Kept connections end here before most servers and proxies end them.
const IDLE: Duration = Duration::from_secs(4);

/// A release's name is short; what a server sends beyond that is cut.
const LONGEST_NAME: usize = 64;

#[derive(Debug, Clone)]
enum Connections {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Secure(Client<TlsConnector, Full<Bytes>>),
}

/// The client's own connections, as many as requests are in flight. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    client: Connections,
    timeout: Duration,
    release_header: HeaderName,
}

impl Sender {
    pub(super) async fn new(config: &ClientConfig) -> Result<Self, LoadError> {
        let release_header = config
            .release_header
            .parse()
            .map_err(|_| LoadError::Setting {
                setting: "release_header",
                what: "it is not the name of a header".to_owned(),
            })?;
        let timeout = config.timeout.get();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        // Sends again by itself only what found its kept connection closed before a byte was sent.
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.max_in_flight)
            .retry_canceled_requests(true);
        let url = config.base_url.parse().ok();
        let client = if url.is_some_and(|url| tls::is_asked(&url)) {
            let connector = tls::connector(connector).await;
            let connector = connector.map_err(|error| LoadError::Setting {
                setting: "base_url",
                what: format!("the certificates that are trusted: {error}"),
            })?;
            Connections::Secure(builder.build(connector))
        } else {
            Connections::Plain(builder.build(connector))
        };
        Ok(Self {
            client,
            timeout,
            release_header,
        })
    }

    /// Sends the request that was due at `due`. Always returns, at the latest after the timeout.
    pub(super) async fn send(self, prepared: Prepared, due: Instant) -> Outcome {
        let sent = Instant::now();
        let mut outcome = not_sent(&prepared, due, None);
        outcome.sent = Some(sent);
        let exchange = self.exchange(prepared.request, &mut outcome);
        let cause = match tokio::time::timeout_at(sent + self.timeout, exchange).await {
            Ok(cause) => cause,
            Err(_elapsed) => Some(Cause::Timeout),
        };
        outcome.cause = cause;
        outcome.settled = Instant::now();
        outcome
    }

    /// Fills in what is learnt on the way, so that a timeout in the body keeps status and release.
    async fn exchange(
        &self,
        request: ::http::Request<Full<Bytes>>,
        outcome: &mut Outcome,
    ) -> Option<Cause> {
        let answered = match &self.client {
            Connections::Plain(client) => client.request(request).await,
            Connections::Secure(client) => client.request(request).await,
        };
        let response = match answered {
            Ok(response) => response,
            Err(error) => {
                outcome.detail = Some(with_sources(&error));
                return Some(classify(&error));
            }
        };
        let status = response.status().as_u16();
        outcome.status = Some(status);
        outcome.release = short(response.headers(), &self.release_header).unwrap_or_default();
        outcome.trace_id = short(response.headers(), &HeaderName::from_static("x-trace-id"));
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Err(error) = frame {
                outcome.detail = Some(with_sources(&error));
                return Some(if error.is_parse() {
                    Cause::Protocol
                } else {
                    Cause::Reset
                });
            }
        }
        Cause::of_status(status)
    }
}

/// Returns the outcome of a request that was not sent.
pub(super) fn not_sent(prepared: &Prepared, due: Instant, cause: Option<Cause>) -> Outcome {
    Outcome {
        due,
        sent: None,
        settled: Instant::now(),
        status: None,
        cause,
        release: String::new(),
        trace_id: None,
        detail: None,
        method: Cow::Owned(prepared.method.to_string()),
        path: prepared.path.clone(),
    }
}

fn short(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.chars().take(LONGEST_NAME).collect())
}

fn classify(error: &ClientError) -> Cause {
    if error.is_connect() {
        return Cause::Connect;
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            let refused = hyper.is_parse() || hyper.is_parse_too_large();
            return if refused {
                Cause::Protocol
            } else {
                Cause::Reset
            };
        }
        source = cause.source();
    }
    Cause::Reset
}
