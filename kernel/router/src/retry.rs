//! Which failed attempts may be followed by another.

use std::sync::Arc;

use http::Method;

use crate::upstream::{Failure, FailureKind};

/// The attempts that one request still has.
#[derive(Debug)]
pub(crate) struct Attempts {
    left: u32,
    stale_left: u32,
    /// Whether the next one opens a connection of its own.
    pub(crate) fresh: bool,
    /// Instances that failed.
    pub(crate) tried: Vec<Arc<str>>,
}

impl Attempts {
    /// Returns `retries` attempts after the first, and one more for a kept connection that the
    /// backend has closed in the meantime, which is nobody's failure.
    pub(crate) fn new(retries: u32) -> Self {
        Self {
            left: retries,
            stale_left: 1,
            fresh: false,
            tried: Vec::new(),
        }
    }

    /// Tells whether another attempt may be possible.
    pub(crate) fn may_follow(&self) -> bool {
        self.left > 0 || self.stale_left > 0
    }

    /// Takes an attempt; returns whether there was one left.
    pub(crate) fn take(&mut self, stale: bool) -> bool {
        self.fresh = stale;
        let from = if stale {
            &mut self.stale_left
        } else {
            &mut self.left
        };
        match from.checked_sub(1) {
            Some(rest) => *from = rest,
            None => return false,
        }
        true
    }
}

/// Tells whether a request may be sent again: always when no byte of it left, otherwise only when
/// it is idempotent and no byte of a response came. A timeout is final: the time is up.
pub(crate) fn may_follow(failure: &Failure, method: &Method) -> bool {
    match failure.kind {
        FailureKind::Timeout
        | FailureKind::Cut
        | FailureKind::Stopping
        | FailureKind::ClientBroke
        | FailureKind::ClientSlow => false,
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
