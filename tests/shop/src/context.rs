//! What a request carries through the services: the trace and the wish for a release.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The router's header to reach a release on purpose; passed on so that a whole chain of calls
/// can be steered.
pub(crate) const RELEASE_OVERRIDE: HeaderName = HeaderName::from_static("x-code-deploy-release");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
pub(crate) const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// The place of one request in a distributed trace, as W3C Trace Context has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestContext {
    pub trace_id: String,
    pub span_id: String,
    pub parent_span_id: Option<String>,
    flags: String,
    pub release_override: Option<HeaderValue>,
}

impl RequestContext {
    /// Continues the caller's trace, or begins one when the caller sent none that is valid.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let release_override = headers.get(RELEASE_OVERRIDE).cloned();
        let parent = headers
            .get(TRACEPARENT)
            .and_then(|v| v.to_str().ok())
            .and_then(parse);
        let span_id = new_span_id();
        match parent {
            Some((trace, span, flags)) => RequestContext {
                trace_id: trace.to_owned(),
                span_id,
                parent_span_id: Some(span.to_owned()),
                flags: flags.to_owned(),
                release_override,
            },
            None => RequestContext {
                trace_id: random(),
                span_id,
                parent_span_id: None,
                flags: "01".to_owned(),
                release_override,
            },
        }
    }

    /// Returns the header that makes this request the parent of a call to another service.
    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, self.flags)
    }
}

/// Splits a `traceparent` header of any version into trace id, parent id and flags.
fn parse(header: &str) -> Option<(&str, &str, &str)> {
    let mut parts = header.trim().split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let more = parts.next().is_some();
    let valid = is_hex(version, 2) && version != "ff" && (version != "00" || !more);
    let known = is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    let zero = trace.bytes().all(|b| b == b'0') || span.bytes().all(|b| b == b'0');
    (valid && known && !zero).then_some((trace, span, flags))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[allow(
    clippy::disallowed_methods,
    reason = "ids of a trace are the one random input here"
)]
fn random() -> String {
    Uuid::new_v4().simple().to_string()
}

fn new_span_id() -> String {
    // The first eight octets of a random UUID hold 60 random bits and are never all zero.
    random().chars().take(16).collect()
}

/// Returns a new random identifier, for an order or an idempotency key.
pub(crate) fn new_id() -> String {
    let text = random();
    Uuid::try_parse(&text).map_or(text, |id| id.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn context(value: &str) -> RequestContext {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        RequestContext::from_headers(&headers)
    }

    #[test]
    fn a_valid_trace_is_continued_under_a_new_span() {
        let ctx = context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        assert_eq!(ctx.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(ctx.parent_span_id.as_deref(), Some("00f067aa0ba902b7"));
        let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-00", ctx.span_id);
        assert_eq!(ctx.traceparent(), expected);
    }

    #[test]
    fn an_invalid_trace_is_replaced() {
        for header in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "nonsense",
        ] {
            let ctx = context(header);
            assert_eq!(ctx.parent_span_id, None, "{header}");
            assert!(is_hex(&ctx.trace_id, 32) && is_hex(&ctx.span_id, 16));
        }
    }
}
