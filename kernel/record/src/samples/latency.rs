//! Latencies as a histogram.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The longest latency that is told from longer ones, in microseconds.
const HIGHEST_US: u64 = 5 * 60 * 1_000_000;

/// The significant digits of latencies.
const DIGITS: u8 = 3;

/// Latencies as a histogram of microseconds, which grows with the longest that it has counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// Returns an empty histogram.
    #[must_use]
    pub fn new() -> Self {
        #[expect(clippy::expect_used, reason = "a constant that is valid")]
        let histogram = Histogram::new(DIGITS).expect("valid digits");
        Self(histogram)
    }

    /// Counts one latency in microseconds. Longer ones than five minutes count as five minutes.
    pub fn count(&mut self, microseconds: u64) {
        #[expect(clippy::expect_used, reason = "a histogram that grows takes any value")]
        self.0
            .record(microseconds.clamp(1, HIGHEST_US))
            .expect("it grows");
    }

    /// Adds everything that `other` counted.
    pub fn add(&mut self, other: &Self) {
        #[expect(clippy::expect_used, reason = "a histogram that grows takes any other")]
        self.0.add(&other.0).expect("it grows");
    }

    /// Returns how many were counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Returns whether none was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the latency in microseconds below or at which that share of the counted ones lies
    /// (`0.99` for p99), or nothing when none was counted. Quantiles are never averaged: add
    /// histograms and ask the sum.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        (!self.is_empty()).then(|| self.0.value_at_quantile(share))
    }

    /// Returns the longest in microseconds, or nothing when none was counted.
    #[must_use]
    pub fn max_us(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.0.max())
    }

    /// Returns how many of the counted ones were longer than that many microseconds, to the
    /// histogram's precision of three digits.
    #[must_use]
    pub fn longer_than_us(&self, microseconds: u64) -> u64 {
        let first = self.0.next_non_equivalent(microseconds.max(1));
        if first > self.0.max() {
            return 0;
        }
        self.0.count_between(first, self.0.max())
    }

    /// Returns the counts between logarithmic bounds: `(upper bound in microseconds, count)`.
    #[must_use]
    pub fn buckets(&self, first_us: u64, base: f64) -> Vec<(u64, u64)> {
        let bins = self.0.iter_log(first_us.max(1), base.max(1.01));
        bins.map(|bin| (bin.value_iterated_to(), bin.count_since_last_iteration()))
            .collect()
    }

    /// Packs the histogram (HDR histogram V2, deflated, base64 without padding).
    ///
    /// # Errors
    /// [`Error::Histogram`].
    pub fn pack(&self) -> Result<String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(|error| Error::Histogram {
                what: error.to_string(),
            })?;
        Ok(STANDARD_NO_PAD.encode(bytes))
    }

    /// Unpacks what [`pack`](Self::pack) packed.
    ///
    /// # Errors
    /// [`Error::Histogram`] when it is something else.
    pub fn unpack(text: &str) -> Result<Self> {
        let wrong = |error: String| Error::Histogram { what: error };
        let bytes = STANDARD_NO_PAD
            .decode(text)
            .map_err(|error| wrong(error.to_string()))?;
        let mut histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| wrong(error.to_string()))?;
        if (histogram.low(), histogram.sigfig()) == (1, DIGITS) && histogram.max() <= HIGHEST_US {
            histogram.auto(true);
            return Ok(Self(histogram));
        }
        let mut latency = Self::new();
        latency
            .0
            .add(&histogram)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(latency)
    }
}

impl Serialize for Latency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.pack().map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::unpack(&text).map_err(serde::de::Error::custom)
    }
}
