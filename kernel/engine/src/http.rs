//! A small HTTP client for probes, journeys and checks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use code_deploy_record::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::OnceCell;

use crate::tls::{self, TlsConnector};

/// The largest answer that is read, in bytes.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The whole URL: `http://127.0.0.1:8080/readyz`.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Headers whose values must not be seen, such as those of
    /// [`Target::reach`](crate::Target::reach).
    pub secret_headers: Vec<(String, Secret)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long the whole exchange may take.
    pub timeout: Duration,
}

impl Request {
    /// Returns a GET request that may take that long.
    pub fn get(url: impl Into<String>, timeout: Duration) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.into(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            body: Vec::new(),
            timeout,
        }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// From sending to the end of the body.
    pub elapsed: Duration,
}

impl Response {
    /// Returns the value of a header as text, if it is there and readable.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the body as text, with unreadable bytes replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Returns the body as JSON, if it is.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The request is not one that can be sent.
    #[error("{method} {url} cannot be sent: {what}")]
    Invalid {
        /// The method.
        method: String,
        /// The URL.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// Nobody listens.
    #[error("{url}: no connection: {what}")]
    Connect {
        /// The URL.
        url: String,
        /// What the system said.
        what: String,
    },
    /// It took too long.
    #[error("{url}: no answer within {limit:?}")]
    Timeout {
        /// The URL.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// The answer broke off or is no HTTP, or is larger than four megabytes.
    #[error("{url}: the answer cannot be read: {what}")]
    Broken {
        /// The URL.
        url: String,
        /// What is wrong.
        what: String,
    },
}

impl HttpError {
    /// Returns the class under which samples count it.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Broken { .. } => "reset",
        }
    }
}

/// Why a request has no answer.
enum Unanswered {
    NoTls(std::io::Error),
    Client(hyper_util::client::legacy::Error),
}

impl From<hyper_util::client::legacy::Error> for Unanswered {
    fn from(error: hyper_util::client::legacy::Error) -> Self {
        Self::Client(error)
    }
}

impl Unanswered {
    fn at(self, url: String) -> HttpError {
        match self {
            Self::NoTls(error) => HttpError::Connect {
                url,
                what: format!("the certificates that are trusted: {error}"),
            },
            Self::Client(error) => {
                let what = crate::error::with_sources(&error);
                if error.is_connect() {
                    HttpError::Connect { url, what }
                } else {
                    HttpError::Broken { url, what }
                }
            }
        }
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(Duration::from_secs(2));
    builder
}

/// A client with its own connections, which it keeps for reuse. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    inner: Client<HttpConnector, Full<Bytes>>,
    /// The same with TLS, made for the first URL that asks for it.
    secure: Arc<OnceCell<Client<TlsConnector, Full<Bytes>>>>,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpClient {
    /// Returns a client without connections.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: builder().build(connector()),
            secure: Arc::default(),
        }
    }

    async fn request(
        &self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, Unanswered> {
        if !tls::is_asked(request.uri()) {
            return Ok(self.inner.request(request).await?);
        }
        let secure = self.secure.get_or_try_init(|| async {
            let connector = tls::connector(connector()).await?;
            Ok::<_, std::io::Error>(builder().build(connector))
        });
        let secure = secure.await.map_err(Unanswered::NoTls)?;
        Ok(secure.request(request).await?)
    }

    /// Sends a request and reads the whole answer. A status that says error is an answer.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// The request may or may not have been carried out when the future is dropped.
    pub async fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let began = Instant::now();
        let built = build(request)?;
        let url = request.url.clone();
        let exchange = async {
            let answer = self.request(built).await;
            let answer = answer.map_err(|error| error.at(url.clone()))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST_BODY).collect().await;
            let body = body.map_err(|error| HttpError::Broken {
                url: url.clone(),
                what: crate::error::with_sources(error.as_ref()),
            })?;
            Ok((parts, body.to_bytes()))
        };
        let limit = request.timeout;
        let answered = tokio::time::timeout(limit, exchange).await;
        let (parts, body) = answered.unwrap_or_else(|_| {
            Err(HttpError::Timeout {
                url: request.url.clone(),
                limit,
            })
        })?;
        let elapsed = began.elapsed();
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            body,
            elapsed,
        })
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn get(&self, url: &str, timeout: Duration) -> Result<Response, HttpError> {
        self.send(&Request::get(url, timeout)).await
    }
}

fn build(request: &Request) -> Result<http::Request<Full<Bytes>>, HttpError> {
    let invalid = |what: String| HttpError::Invalid {
        method: request.method.clone(),
        url: request.url.clone(),
        what,
    };
    let method: Method = request
        .method
        .parse()
        .map_err(|_| invalid("the method".to_owned()))?;
    let uri: Uri = request
        .url
        .parse()
        .map_err(|error| invalid(format!("{error}")))?;
    let mut built = http::Request::new(Full::new(Bytes::from(request.body.clone())));
    (*built.method_mut(), *built.uri_mut()) = (method, uri);
    let secret = request
        .secret_headers
        .iter()
        .map(|(name, value)| (name, value.expose(), true));
    let plain = request
        .headers
        .iter()
        .map(|(name, value)| (name, value.as_str(), false));
    for (name, value, sensitive) in plain.chain(secret) {
        let name: HeaderName = name
            .parse()
            .map_err(|_| invalid(format!("header `{name}`")))?;
        let mut value: HeaderValue = value
            .parse()
            .map_err(|_| invalid(format!("the value of header `{name}`")))?;
        value.set_sensitive(sensitive);
        built.headers_mut().append(name, value);
    }
    Ok(built)
}
