//! Which failed attempts may be followed by another.

use http::Method;

use crate::upstream::{Failure, FailureKind};

/// Tells whether a request may be sent again: always when no byte of it left, otherwise only when
/// it is idempotent and no byte of a response came. A timeout is final: the time is up.
pub(crate) fn may_follow(failure: &Failure, method: &Method) -> bool {
    match failure.kind {
        FailureKind::Timeout | FailureKind::Cut => false,
        FailureKind::Connect | FailureKind::ConnectTimeout | FailureKind::Reset => {
            !failure.sent || (method.is_idempotent() && !failure.received)
        }
    }
}

/// Tells whether the failure is that of a kept connection which the backend closed in the meantime,
/// and so says nothing about the backend.
pub(crate) fn was_stale(failure: &Failure) -> bool {
    failure.kind == FailureKind::Reset && failure.reused && !failure.received
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: FailureKind, sent: bool, received: bool) -> Failure {
        Failure {
            kind,
            unsent: None,
            sent,
            received,
            reused: false,
        }
    }

    #[test]
    fn a_request_that_may_have_been_carried_out_is_repeated_only_when_idempotent() {
        let reset = failure(FailureKind::Reset, true, false);
        assert!(may_follow(&reset, &Method::GET));
        assert!(may_follow(&reset, &Method::PUT));
        assert!(!may_follow(&reset, &Method::POST));
    }

    #[test]
    fn a_request_of_which_nothing_left_is_repeated_whatever_its_method() {
        assert!(may_follow(
            &failure(FailureKind::Connect, false, false),
            &Method::POST
        ));
        assert!(may_follow(
            &failure(FailureKind::Reset, false, false),
            &Method::POST
        ));
    }

    #[test]
    fn nothing_is_repeated_once_a_response_began_or_the_time_is_up() {
        assert!(!may_follow(
            &failure(FailureKind::Reset, true, true),
            &Method::GET
        ));
        assert!(!may_follow(
            &failure(FailureKind::Timeout, true, false),
            &Method::GET
        ));
        assert!(!may_follow(
            &failure(FailureKind::Cut, true, false),
            &Method::GET
        ));
    }
}
