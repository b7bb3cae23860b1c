//! What clients outside measured, as sums.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Release;

/// The outside client's sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientCounted {
    /// `client` for the run's own, otherwise the load test's name.
    pub client: String,
    /// When its first request was due.
    pub first: DateTime<Utc>,
    /// When its last request was due.
    pub last: DateTime<Utc>,
    /// Requests sent.
    pub sent: u64,
    /// Requests that were not answered as they should have been.
    pub failed: u64,
    /// Failed requests by cause.
    pub causes: BTreeMap<String, u64>,
    /// Requests answered by each release, and of these the failed ones. The name is empty for
    /// answers that named none: [`ClientCounted::by_release`] says so in words.
    pub releases: BTreeMap<String, ReleaseCount>,
    /// The longest time between two good answers, in microseconds.
    pub longest_gap_us: u64,
    /// Whether it goes on sending after this count.
    pub goes_on: bool,
}

impl ClientCounted {
    /// Returns the counts of each release, by the words in which it is shown.
    pub fn by_release(&self) -> impl Iterator<Item = (&str, ReleaseCount)> {
        self.releases
            .iter()
            .map(|(release, count)| match release.as_str() {
                "" => ("no release named", *count),
                named => (named, *count),
            })
    }
}

/// Requests answered by one release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCount {
    /// Answered, well or not.
    pub answered: u64,
    /// Answered, but not as they should have been.
    pub failed: u64,
}

/// A load test's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadTested {
    /// Its name.
    pub name: String,
    /// The release under test.
    pub release: Release,
    /// Requests a second that were due.
    pub rate: u32,
    /// How long it lasted, in microseconds.
    pub duration_us: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Latency of the good answers, packed (see [`crate::Latency`]).
    pub latency: crate::Latency,
    /// Good answers a second, measured.
    pub throughput: f64,
}
