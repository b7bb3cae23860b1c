//! The sums of a client's whole life.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use code_deploy_record::Latency;
use serde::{Deserialize, Serialize};

/// Why a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// It was told to stop.
    Stopped,
    /// It reached its longest duration.
    MaxDuration,
    /// It reached its highest number of requests.
    MaxRequests,
}

/// What one release answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseTotals {
    /// Requests.
    pub count: u64,
    /// The failed ones among them.
    pub failed: u64,
}

/// What became of all requests of a client: `due = answered + failed without an answer + in flight`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientTotals {
    /// The process that runs the client.
    pub pid: u32,
    /// When the client began.
    pub started_at: DateTime<Utc>,
    /// When these totals were drawn up.
    pub updated_at: DateTime<Utc>,
    /// Why the client ended; nothing while it runs.
    pub ended: Option<EndReason>,
    /// Requests that became due.
    pub due: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests that were answered as a whole, whatever the status.
    pub answered: u64,
    /// Requests that were answered with a status below 400.
    pub succeeded: u64,
    /// Requests that failed.
    pub failed: u64,
    /// The failed ones by the word of their cause ([`Cause::word`](super::Cause::word)).
    pub failed_by_cause: BTreeMap<String, u64>,
    /// Requests by the release that answered; `` when none did or it did not say.
    pub by_release: BTreeMap<String, ReleaseTotals>,
    /// The longest time between two successful answers in microseconds, including the time from the
    /// start to the first and from the last to the end.
    pub longest_gap_us: u64,
    /// When the longest gap ended; nothing when there was no gap yet.
    pub longest_gap_until: Option<DateTime<Utc>>,
    /// The longest time by which the client itself sent a request late, in microseconds. It is
    /// part of that request's latency.
    pub longest_lag_us: u64,
    /// The most requests that were in flight at once.
    pub most_in_flight: u64,
    /// Failed requests that are listed one by one.
    pub failures_listed: u64,
    /// Failed requests beyond what the list holds.
    pub failures_not_listed: u64,
    /// Latency of the answered requests, counted from when each was due.
    pub latency: Latency,
}

impl ClientTotals {
    pub(super) fn new(started_at: DateTime<Utc>) -> Self {
        Self {
            pid: std::process::id(),
            started_at,
            updated_at: started_at,
            ended: None,
            due: 0,
            sent: 0,
            in_flight: 0,
            answered: 0,
            succeeded: 0,
            failed: 0,
            failed_by_cause: BTreeMap::new(),
            by_release: BTreeMap::new(),
            longest_gap_us: 0,
            longest_gap_until: None,
            longest_lag_us: 0,
            most_in_flight: 0,
            failures_listed: 0,
            failures_not_listed: 0,
            latency: Latency::new(),
        }
    }

    /// Reads the totals that a client keeps in its status file.
    ///
    /// # Errors
    /// [`LoadError::Io`](super::LoadError::Io) when there are none yet,
    /// [`LoadError::Format`](super::LoadError::Format).
    pub fn read(path: &std::path::Path) -> Result<Self, super::LoadError> {
        const LARGEST: u64 = 4 * 1024 * 1024;
        let bytes = super::files::read_limited(path, LARGEST)?;
        serde_json::from_slice(&bytes).map_err(|source| super::LoadError::Format {
            path: path.to_owned(),
            source,
        })
    }
}
