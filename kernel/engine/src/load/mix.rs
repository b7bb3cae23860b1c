//! Which request comes next, and what it looks like.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use bytes::Bytes;
use http_body_util::Full;

use super::{ClientConfig, LoadError};
use crate::spec::LoadRequest;

/// The kinds of requests in turn, each in proportion to its weight and evenly spread (smooth
/// weighted round robin): the same for every run.
#[derive(Debug)]
pub(super) struct Mix {
    base_url: String,
    kinds: Vec<Kind>,
    total: i64,
    number: u64,
}

#[derive(Debug)]
struct Kind {
    request: LoadRequest,
    method: Method,
    current: i64,
}

/// A request that is ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub method: Method,
    pub path: String,
    pub request: ::http::Request<Full<Bytes>>,
}

impl Mix {
    /// Checks every kind by making one of each.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, LoadError> {
        let base_url = config.base_url.trim_end_matches('/').to_owned();
        let plain = base_url.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some()
                && uri.path() == "/"
        });
        if !plain {
            let what =
                format!("`{base_url}` is not of the form http://host:port or https://host:port");
            return Err(LoadError::Setting {
                setting: "base_url",
                what,
            });
        }
        let mut kinds = Vec::new();
        for request in config.requests.iter().filter(|request| request.weight > 0) {
            let method = request
                .method
                .parse()
                .map_err(|_| wrong(request, "the method"))?;
            let kind = Kind {
                request: request.clone(),
                method,
                current: 0,
            };
            kind.prepare(&base_url, 0)?;
            kinds.push(kind);
        }
        let total = kinds
            .iter()
            .map(|kind| i64::from(kind.request.weight))
            .sum();
        Ok(Self {
            base_url,
            kinds,
            total,
            number: 0,
        })
    }

    /// Makes the next request; its number counts from 1.
    pub(super) fn next(&mut self) -> Result<Prepared, LoadError> {
        self.number += 1;
        for kind in &mut self.kinds {
            kind.current += i64::from(kind.request.weight);
        }
        let (total, number) = (self.total, self.number);
        let chosen = self.kinds.iter_mut().max_by_key(|kind| kind.current);
        let Some(kind) = chosen else {
            let what = "there are none".to_owned();
            return Err(LoadError::Setting {
                setting: "requests",
                what,
            });
        };
        kind.current -= total;
        kind.prepare(&self.base_url, number)
    }
}

impl Kind {
    fn prepare(&self, base_url: &str, number: u64) -> Result<Prepared, LoadError> {
        let number = number.to_string();
        let uuid = new_uuid();
        let fill = |text: &str| text.replace("{n}", &number).replace("{uuid}", &uuid);
        let path = fill(&self.request.path);
        if !path.starts_with('/') {
            return Err(wrong(&self.request, "the path, which must begin with `/`,"));
        }
        let uri: Uri = format!("{base_url}{path}")
            .parse()
            .map_err(|_| wrong(&self.request, "the path"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.request.headers {
            let bad = |_| wrong(&self.request, &format!("header `{name}`"));
            let key: HeaderName = name.parse().map_err(|_| bad(()))?;
            let value: HeaderValue = fill(value).parse().map_err(|_| bad(()))?;
            headers.append(key, value);
        }
        let body = self.request.body.as_deref().map(fill).unwrap_or_default();
        let mut request = ::http::Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(Prepared {
            method: self.method.clone(),
            path,
            request,
        })
    }
}

fn wrong(request: &LoadRequest, what: &str) -> LoadError {
    let what = format!(
        "{what} of `{} {}` cannot be sent",
        request.method, request.path
    );
    LoadError::Setting {
        setting: "requests",
        what,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the ids in the client's requests must be new in every run"
)]
fn new_uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}
