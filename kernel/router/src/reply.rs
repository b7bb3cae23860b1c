//! The answers that the router makes itself.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use crate::body::RouterBody;
use crate::headers::ROUTER;
use crate::tally::FailureClass;
use crate::upstream::FailureKind;

/// Why the router answers in place of a backend; the word is in the header `x-code-deploy-router`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    NoRelease,
    NoHealthyBackend,
    Failed(FailureKind),
    UnexpectedUpgrade,
    RequestBodyBroken,
    RequestBodyTooSlow,
    MethodNotSupported,
}

impl Reason {
    fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::NoRelease => (StatusCode::SERVICE_UNAVAILABLE, "no-release"),
            Self::NoHealthyBackend => (StatusCode::SERVICE_UNAVAILABLE, "no-healthy-backend"),
            Self::Failed(FailureKind::Connect) => (StatusCode::BAD_GATEWAY, "connect-failed"),
            Self::Failed(FailureKind::ConnectTimeout) => {
                (StatusCode::GATEWAY_TIMEOUT, "connect-timeout")
            }
            Self::Failed(FailureKind::Reset) => (StatusCode::BAD_GATEWAY, "connection-reset"),
            Self::Failed(FailureKind::Timeout) => (StatusCode::GATEWAY_TIMEOUT, "response-timeout"),
            Self::Failed(FailureKind::Cut) => (StatusCode::GATEWAY_TIMEOUT, "drain-limit"),
            Self::Failed(FailureKind::Stopping) => {
                (StatusCode::SERVICE_UNAVAILABLE, "router-stopping")
            }
            Self::UnexpectedUpgrade => (StatusCode::BAD_GATEWAY, "unexpected-upgrade"),
            Self::RequestBodyBroken | Self::Failed(FailureKind::ClientBroke) => {
                (StatusCode::BAD_REQUEST, "request-body-broken")
            }
            Self::RequestBodyTooSlow | Self::Failed(FailureKind::ClientSlow) => {
                (StatusCode::REQUEST_TIMEOUT, "request-body-too-slow")
            }
            Self::MethodNotSupported => (StatusCode::METHOD_NOT_ALLOWED, "method-not-supported"),
        }
    }

    /// Returns the class that samples count it under, where it is a failure of ours or a backend's.
    pub(crate) fn class(self) -> Option<FailureClass> {
        match self {
            Self::NoRelease | Self::NoHealthyBackend => Some(FailureClass::Unavailable),
            Self::Failed(FailureKind::Connect | FailureKind::ConnectTimeout) => {
                Some(FailureClass::Connect)
            }
            Self::Failed(FailureKind::Timeout) => Some(FailureClass::Timeout),
            Self::Failed(FailureKind::Reset | FailureKind::Cut | FailureKind::Stopping)
            | Self::UnexpectedUpgrade => Some(FailureClass::Reset),
            Self::Failed(FailureKind::ClientBroke | FailureKind::ClientSlow)
            | Self::RequestBodyBroken
            | Self::RequestBodyTooSlow
            | Self::MethodNotSupported => None,
        }
    }

    /// Returns the response.
    pub(crate) fn response(self) -> Response<RouterBody> {
        let (status, word) = self.parts();
        let text = Bytes::from(format!("code-deploy router: {word}\n"));
        let mut response = Response::new(RouterBody::Own(Some(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(ROUTER, HeaderValue::from_static(word));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        response
    }
}
