//! Calls to the other services.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;

use crate::config::BaseUrl;
use crate::context::{RELEASE_OVERRIDE, RequestContext, TRACEPARENT};
use crate::problem::Problem;

/// Shorter than what servers and proxies keep an idle connection for, so that it is this side
/// that ends it.
const IDLE: Duration = Duration::from_secs(4);

/// Answers of the shop are small.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// One call. Repeating it must be harmless: it is a read, or it carries an idempotency key.
pub(crate) struct Call<'a> {
    pub method: Method,
    pub base: &'a BaseUrl,
    pub path: &'a str,
    pub idempotency_key: Option<&'a str>,
    pub body: Bytes,
}

impl<'a> Call<'a> {
    pub(crate) fn get(base: &'a BaseUrl, path: &'a str) -> Self {
        Call {
            method: Method::GET,
            base,
            path,
            idempotency_key: None,
            body: Bytes::new(),
        }
    }
}

/// An answer that has arrived whole.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    /// Reads the body of a successful answer; any other becomes a problem that names the cause.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if !self.status.is_success() {
            return Err(self.problem());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Problem::bad_gateway(format!("an answer could not be read: {error}")))
    }

    /// Passes on what the caller can mend (4xx); everything else is a bad gateway.
    fn problem(&self) -> Problem {
        let body: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let detail = body.as_ref().and_then(|body| body.get("detail")?.as_str());
        let detail = detail.unwrap_or("no reason was given").to_owned();
        if self.status.is_client_error() {
            return Problem::new(self.status, detail);
        }
        Problem::bad_gateway(format!("a service answered {}: {detail}", self.status))
    }
}

/// A client with kept connections, a time limit and one repetition.
pub(crate) struct Downstream {
    client: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

impl Downstream {
    /// Returns a client that keeps so many connections to each service.
    pub(crate) fn new(timeout: Duration, idle: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle)
            .build(connector);
        Downstream { client, timeout }
    }

    /// Makes the call within the trace of `context`. A call that fails before an answer
    /// arrives is repeated once, within the same time limit.
    pub(crate) async fn call(
        &self,
        context: &RequestContext,
        call: &Call<'_>,
    ) -> Result<Answer, Problem> {
        let twice = async {
            match self.once(context, call).await {
                Err(_) => self.once(context, call).await,
                answer => answer,
            }
        };
        match tokio::time::timeout(self.timeout, twice).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Problem::bad_gateway(format!(
                "{}{} could not be reached: {error}",
                call.base.as_str(),
                call.path
            ))),
            Err(_elapsed) => Err(Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!(
                    "{}{} took longer than {:?}",
                    call.base.as_str(),
                    call.path,
                    self.timeout
                ),
            )),
        }
    }

    async fn once(&self, context: &RequestContext, call: &Call<'_>) -> Result<Answer, BoxError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", call.base.as_str(), call.path))
            .header(TRACEPARENT, context.traceparent())
            .header(header::ACCEPT, "application/json");
        if let Some(release) = &context.release_override {
            request = request.header(RELEASE_OVERRIDE, release.clone());
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if !call.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let response = self
            .client
            .request(request.body(Full::new(call.body.clone()))?)
            .await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT)
            .collect()
            .await?
            .to_bytes();
        Ok(Answer { status, body })
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
