//! What a request's headers say about where it goes.

use http::{HeaderMap, HeaderValue};

use crate::config::{ServiceConfig, token_digest};
use crate::headers::{RELEASE, TOKEN};
use crate::sticky;
use crate::table::Want;

/// Where a request goes, and what its response may tell.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) want: Want,
    /// Whether it carried the run's token.
    pub(crate) trusted: bool,
    /// Name of the cookie, where the service is sticky.
    pub(crate) cookie: Option<String>,
}

impl Route {
    /// Reads the headers; takes out override headers that are not valid, so that no service
    /// behind the router can mistake them for valid ones.
    pub(crate) fn of(config: &ServiceConfig, headers: &mut HeaderMap) -> Self {
        let cookie = config
            .sticky
            .as_ref()
            .map(|s| sticky::cookie_name(s, &config.name));
        let trusted = carries_token(config, headers);
        if !trusted {
            headers.remove(RELEASE);
            headers.remove(TOKEN);
        }
        let named = headers.get(RELEASE).and_then(|value| value.to_str().ok());
        let want = match (named, &cookie) {
            (Some(release), _) => Want::Named(release.to_owned()),
            (None, Some(name)) => {
                sticky::point_of(headers, name).map_or(Want::NewUser, Want::Point)
            }
            (None, None) => Want::Split,
        };
        Self {
            want,
            trusted,
            cookie,
        }
    }
}

/// Compares digests, so that the time it takes tells nothing about the token.
fn carries_token(config: &ServiceConfig, headers: &HeaderMap) -> bool {
    let (Some(expected), Some(token)) = (
        config.override_token_sha256.as_deref(),
        headers
            .get(TOKEN)
            .map(HeaderValue::to_str)
            .and_then(Result::ok),
    ) else {
        return false;
    };
    token_digest(token).eq_ignore_ascii_case(expected)
}
