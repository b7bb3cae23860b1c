//! Which headers pass, and which are written on the way.

use std::net::SocketAddr;

use http::header::{
    CONNECTION, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Uri, Version};

/// Names, in an answer that the router makes in place of an instance, the release of that
/// instance: the header in which services name theirs.
pub(crate) const ANSWERS_FOR: HeaderName = HeaderName::from_static("x-release");

/// Asks for a release on purpose; valid only with the token beside it.
pub const RELEASE: HeaderName = HeaderName::from_static("x-code-deploy-release");
/// The token that makes [`RELEASE`] valid. Both are passed on to the backend when valid, so that a
/// request keeps its release through every service that passes them on; when not valid both are
/// taken out.
pub const TOKEN: HeaderName = HeaderName::from_static("x-code-deploy-token");
/// Why the router itself answered.
pub const ROUTER: HeaderName = HeaderName::from_static("x-code-deploy-router");
/// Release and instance that answered; only where the request carried a valid token.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-code-deploy-served-by");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Returns the protocol that an HTTP/1.1 request wants to change to.
pub(crate) fn wanted_upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !lists(headers, "upgrade") {
        return None;
    }
    headers.get(UPGRADE).cloned()
}

fn lists(headers: &HeaderMap, wanted: &str) -> bool {
    connection_words(headers).any(|word| word.eq_ignore_ascii_case(wanted))
}

fn connection_words(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Takes out what belongs to one connection only (RFC 9110, section 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = connection_words(headers)
            .filter_map(|word| word.parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    let trailers = headers
        .get(TE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|word| word.trim() == "trailers"));
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Turns a client's request head into the one for a backend.
pub(crate) fn prepare<B>(request: &mut Request<B>, peer: SocketAddr, upgrade: Option<HeaderValue>) {
    let authority = request
        .uri()
        .authority()
        .and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    // The router answers 100-continue itself, when the backend begins to take the body.
    headers.remove(EXPECT);
    if let Some(authority) = authority {
        headers.insert(HOST, authority);
    } else if !headers.contains_key(HOST) {
        // HTTP/1.0 clients need not send one; HTTP/1.1 backends may insist.
        headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    append_forwarded_for(headers, peer);
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !headers.contains_key(FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
    let origin = request
        .uri()
        .path_and_query()
        .cloned()
        .map_or_else(Uri::default, Uri::from);
    *request.uri_mut() = origin;
    *request.version_mut() = Version::HTTP_11;
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: SocketAddr) {
    let mut chain = String::new();
    for value in headers.get_all(&FORWARDED_FOR) {
        if let Ok(value) = value.to_str() {
            chain.push_str(value);
            chain.push_str(", ");
        }
    }
    chain.push_str(&peer.ip().to_string());
    if let Ok(value) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_connection_names_does_not_pass_and_the_client_is_appended() {
        let mut request = Request::builder()
            .uri("http://shop.example:8080/cart?x=1")
            .header("connection", "keep-alive, X-Hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .header("te", "trailers, deflate")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-stays", "yes")
            .body(())
            .unwrap();
        prepare(&mut request, "127.0.0.1:5".parse().unwrap(), None);
        let headers = request.headers();
        assert!(!headers.contains_key("x-hop"));
        assert!(!headers.contains_key("keep-alive"));
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["x-stays"], "yes");
        assert_eq!(headers["host"], "shop.example:8080");
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 127.0.0.1");
        assert_eq!(headers["x-forwarded-host"], "shop.example:8080");
        assert_eq!(request.uri(), "/cart?x=1");
    }

    #[test]
    fn an_upgrade_needs_both_headers_and_http_1_1() {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        assert_eq!(wanted_upgrade(Version::HTTP_11, &headers), None);
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert!(wanted_upgrade(Version::HTTP_11, &headers).is_some());
        assert!(wanted_upgrade(Version::HTTP_10, &headers).is_none());
    }
}
