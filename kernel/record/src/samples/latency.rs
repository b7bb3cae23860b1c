//! Latencies as a histogram.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};
use serde::{Deserialize, Serialize};

use super::packed;
use crate::{Error, Result};

/// The longest latency that is told from longer ones, in microseconds.
const HIGHEST_US: u64 = 5 * 60 * 1_000_000;

/// The longest histogram that is packed as it is, in bytes: a second of a service has a few dozen counts, and to
/// deflate them, or inflate them again, takes many times longer than anything else that is done with them.
const LONGEST_PLAIN: usize = 256;

/// The significant digits of latencies.
const DIGITS: u8 = 3;

/// Latencies as a histogram of microseconds, which grows with the longest that it has counted.
#[derive(Debug, Clone)]
pub struct Latency(Counts);

/// What was counted.
#[derive(Debug, Clone)]
enum Counts {
    Histogram(Histogram<u64>),
    /// The few counts of one that was read and is as a rule only added to others: values, each the
    /// lowest of those that are not told from it, ascending, and how often.
    Read(Vec<(u64, u64)>),
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Latency {
    fn eq(&self, other: &Self) -> bool {
        self.histogram() == other.histogram()
    }
}

impl Latency {
    /// Returns an empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self(Counts::Histogram(empty()))
    }

    /// Counts one latency in microseconds. Longer ones than five minutes count as five minutes.
    pub fn count(&mut self, microseconds: u64) {
        #[expect(clippy::expect_used, reason = "a histogram that grows takes any value")]
        self.grown()
            .record(microseconds.clamp(1, HIGHEST_US))
            .expect("it grows");
    }

    /// Adds everything that `other` counted.
    pub fn add(&mut self, other: &Self) {
        #[expect(clippy::expect_used, reason = "a histogram that grows takes any other")]
        match &other.0 {
            Counts::Histogram(other) => self.grown().add(other).expect("it grows"),
            Counts::Read(counts) => fill(self.grown(), counts),
        }
    }

    /// Returns how many were counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Counts::Histogram(histogram) => histogram.len(),
            Counts::Read(counts) => counts
                .iter()
                .fold(0, |sum: u64, (_, count)| sum.saturating_add(*count)),
        }
    }

    /// Returns whether none was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Counts::Histogram(histogram) => histogram.is_empty(),
            Counts::Read(counts) => counts.is_empty(),
        }
    }

    fn histogram(&self) -> Cow<'_, Histogram<u64>> {
        match &self.0 {
            Counts::Histogram(histogram) => Cow::Borrowed(histogram),
            Counts::Read(counts) => Cow::Owned(filled(counts)),
        }
    }

    fn grown(&mut self) -> &mut Histogram<u64> {
        if let Counts::Read(counts) = &self.0 {
            self.0 = Counts::Histogram(filled(counts));
        }
        match &mut self.0 {
            Counts::Histogram(histogram) => histogram,
            Counts::Read(_) => unreachable!("it was made one above"),
        }
    }

    /// Returns the latency in microseconds below or at which that share of the counted ones lies
    /// (`0.99` for p99), or nothing when none was counted. Quantiles are never averaged: add
    /// histograms and ask the sum.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        (!self.is_empty()).then(|| self.histogram().value_at_quantile(share))
    }

    /// Returns the longest in microseconds, or nothing when none was counted.
    #[must_use]
    pub fn max_us(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.histogram().max())
    }

    /// Returns how many of the counted ones were longer than that many microseconds, to the
    /// histogram's precision of three digits.
    #[must_use]
    pub fn longer_than_us(&self, microseconds: u64) -> u64 {
        let histogram = self.histogram();
        let first = histogram.next_non_equivalent(microseconds.max(1));
        if first > histogram.max() {
            return 0;
        }
        histogram.count_between(first, histogram.max())
    }

    /// Returns the counts between logarithmic bounds: `(upper bound in microseconds, count)`.
    #[must_use]
    pub fn buckets(&self, first_us: u64, base: f64) -> Vec<(u64, u64)> {
        let histogram = self.histogram();
        let bins = histogram.iter_log(first_us.max(1), base.max(1.01));
        bins.map(|bin| (bin.value_iterated_to(), bin.count_since_last_iteration()))
            .collect()
    }

    /// Packs the histogram: HDR histogram V2, deflated where it is long, base64 without padding.
    ///
    /// # Errors
    /// [`Error::Histogram`].
    pub fn pack(&self) -> Result<String> {
        let wrong = |error: String| Error::Histogram { what: error };
        let (histogram, mut bytes) = (self.histogram(), Vec::new());
        V2Serializer::new()
            .serialize(&histogram, &mut bytes)
            .map_err(|error| wrong(error.to_string()))?;
        if bytes.len() > LONGEST_PLAIN {
            bytes.clear();
            V2DeflateSerializer::new()
                .serialize(&histogram, &mut bytes)
                .map_err(|error| wrong(error.to_string()))?;
        }
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
        if let Some(counts) = packed::counts(&bytes, HIGHEST_US) {
            return Ok(Self(Counts::Read(counts)));
        }
        // Of another precision, or damaged: then this says what is wrong.
        let other: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| wrong(error.to_string()))?;
        let mut histogram = empty();
        histogram
            .add(&other)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self(Counts::Histogram(histogram)))
    }
}

fn empty() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "a constant that is valid")]
    Histogram::new(DIGITS).expect("valid digits")
}

fn filled(counts: &[(u64, u64)]) -> Histogram<u64> {
    let mut histogram = empty();
    fill(&mut histogram, counts);
    histogram
}

fn fill(histogram: &mut Histogram<u64>, counts: &[(u64, u64)]) {
    for (value, count) in counts {
        #[expect(clippy::expect_used, reason = "a histogram that grows takes any value")]
        histogram.record_n(*value, *count).expect("it grows");
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
        deserializer.deserialize_str(Packed)
    }
}

/// Takes a packed histogram where it stands.
struct Packed;

impl serde::de::Visitor<'_> for Packed {
    type Value = Latency;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a packed histogram")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Latency, E> {
        Latency::unpack(text).map_err(E::custom)
    }
}
