//! What was measured, second by second.
//!
//! A samples file holds one JSON object a line. Each is bounded however many requests it counts:
//! latencies are an HDR histogram of microseconds (from 1 µs to 5 minutes, three significant
//! digits). One process writes a file.

mod latency;
mod packed;
mod reader;
mod writer;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use latency::Latency;
pub use reader::{SampleFollower, SampleLines, SampleReader};
pub use writer::SampleWriter;

/// Who measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The router, of the requests that passed it.
    Router,
    /// The outside client, of its own requests. Latency is counted from when a request was due.
    Client,
    /// The health probes.
    Probe,
    /// A load test. Latency is counted from when a request was due.
    Load,
    /// The platform: memory, processor time.
    Platform,
    /// The instances themselves, of the requests that reached them, read once a second. A latency is
    /// the upper bound of the bucket in which an instance counted it.
    Instance,
}

impl Source {
    /// Returns the source's name, which begins the names of its files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Client => "client",
            Self::Probe => "probe",
            Self::Load => "load",
            Self::Platform => "platform",
            Self::Instance => "instance",
        }
    }
}

/// One second of one service's release, as one source saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The second, as a Unix time.
    pub second: i64,
    /// The service.
    pub service: String,
    /// The release that answered; empty when none did.
    pub release: String,
    /// Who measured.
    pub source: Source,
    /// Requests (for probes: probes; for the platform: instances).
    pub count: u64,
    /// The failed ones by class: `5xx`, `connect`, `timeout`, `reset`; of probes also `unhealthy`, by the target's own health
    /// check.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// Latency of the answered ones.
    pub latency: Latency,
    /// Other figures by name with its unit: `resident_bytes`, `cpu_millis`, `in_flight`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

impl Sample {
    /// The figure of requests that a release answered in place of another one, which had no instance to answer them.
    pub const TAKEN_OVER: &'static str = "taken_over";

    /// Returns a sample that has counted nothing yet.
    #[must_use]
    pub fn empty(second: i64, service: &str, release: &str, source: Source) -> Self {
        Self {
            second,
            service: service.to_owned(),
            release: release.to_owned(),
            source,
            count: 0,
            errors: BTreeMap::new(),
            latency: Latency::new(),
            figures: BTreeMap::new(),
        }
    }

    /// Reads a line of a samples file, with or without its end. A line that was torn by a crash or a
    /// full disk, and ended by who wrote on, holds nothing.
    ///
    /// # Errors
    /// When the line was whole and is not a sample.
    pub fn of_line(line: &[u8]) -> serde_json::Result<Option<Self>> {
        // A line end within a text that was torn would be an error of another kind.
        match serde_json::from_slice(line.strip_suffix(b"\n").unwrap_or(line)) {
            Ok(sample) => Ok(Some(sample)),
            Err(error) if error.is_eof() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns how many failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Returns how many of the requests were another release's, which had no instance to answer them; none where who
    /// measured does not tell.
    #[must_use]
    pub fn taken_over(&self) -> u64 {
        let figure = self.figures.get(Self::TAKEN_OVER);
        figure.map_or(0, |requests| *requests as u64)
    }
}
