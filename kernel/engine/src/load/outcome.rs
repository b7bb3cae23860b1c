//! What became of one request.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Why a request counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The answer has a status from 400 to 499.
    #[serde(rename = "4xx")]
    ClientError,
    /// The answer has a status of 500 or above.
    #[serde(rename = "5xx")]
    ServerError,
    /// No connection could be made.
    #[serde(rename = "connect")]
    Connect,
    /// There was no whole answer in time.
    #[serde(rename = "timeout")]
    Timeout,
    /// The connection ended before the answer was whole.
    #[serde(rename = "reset")]
    Reset,
    /// The answer is no HTTP.
    #[serde(rename = "protocol")]
    Protocol,
    /// As many requests were in flight as may be, so this one was not sent.
    #[serde(rename = "client saturated")]
    Saturated,
}

impl Cause {
    /// Returns the word under which samples, totals and lists count it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Saturated => "client saturated",
        }
    }

    pub(super) fn of_status(status: u16) -> Option<Self> {
        match status {
            0..400 => None,
            400..500 => Some(Self::ClientError),
            _ => Some(Self::ServerError),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One request, settled.
#[derive(Debug)]
pub(super) struct Outcome {
    pub due: Instant,
    /// When it was sent; nothing when it was not.
    pub sent: Option<Instant>,
    pub settled: Instant,
    /// The status, also of a failed answer; nothing when there is none.
    pub status: Option<u16>,
    pub cause: Option<Cause>,
    /// The release that answered; empty when none did or it did not say.
    pub release: String,
    pub trace_id: Option<String>,
    /// What the system said of a connection that failed.
    pub detail: Option<String>,
    pub method: Cow<'static, str>,
    pub path: String,
}

impl Outcome {
    pub(super) fn latency_us(&self) -> u64 {
        microseconds(self.settled.saturating_duration_since(self.due))
    }
}

pub(super) fn microseconds(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
