//! Lengths of time as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of time as it stands in a deployment file: a whole number with a unit, `500ms`,
/// `10s`, `5m`, `1h`, or several of them, `1m30s`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^([0-9]+(ms|s|m|h|d))+$"))]
pub struct Span(Duration);

impl Span {
    /// Returns a span of that many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// Returns a span of that many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Returns the length.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

/// A text that is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` is not a length of time: write a whole number with a unit, such as 500ms, 10s, 5m, 1h"
)]
pub struct InvalidSpan {
    /// What was given.
    pub value: String,
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(value: &str) -> Result<Self, InvalidSpan> {
        let invalid = || InvalidSpan {
            value: value.chars().take(80).collect(),
        };
        let mut rest = value.trim();
        let mut total = Duration::ZERO;
        if rest.is_empty() {
            return Err(invalid());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .ok_or_else(invalid)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| invalid())?;
            let milliseconds = match unit {
                "ms" => Some(1),
                "s" => Some(1_000),
                "m" => Some(60_000),
                "h" => Some(3_600_000),
                "d" => Some(86_400_000),
                _ => None,
            };
            let part = milliseconds
                .and_then(|ms: u64| ms.checked_mul(number))
                .ok_or_else(invalid)?;
            total = total
                .checked_add(Duration::from_millis(part))
                .ok_or_else(invalid)?;
            rest = tail;
        }
        Ok(Self(total))
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidSpan;

    fn try_from(value: String) -> Result<Self, InvalidSpan> {
        value.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1),
        ] {
            let number = rest / length;
            rest %= length;
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

/// Returns a length of time in whole milliseconds, as plans and records have it.
pub(crate) fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns microseconds as milliseconds, without the unit, with decimals that tell short times apart.
pub(crate) fn milliseconds(us: f64) -> String {
    let ms = us / 1000.0;
    let decimals = if ms < 10.0 { 2 } else { 1 };
    format!("{ms:.decimals$}")
}

/// Returns microseconds in words, in the form that notebooks have: `6.55 ms`, `412 ms`, `2 min 05 s`.
pub(crate) fn lasted(us: u64) -> String {
    let ms = us as f64 / 1e3;
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{ms:.2} ms"),
        10_000..100_000 => format!("{ms:.1} ms"),
        100_000..1_000_000 => format!("{ms:.0} ms"),
        1_000_000..60_000_000 => format!("{:.1} s", ms / 1e3),
        60_000_000..3_600_000_000 => {
            let seconds = (us + 500_000) / 1_000_000;
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = us.saturating_add(30_000_000) / 60_000_000;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_in_the_unit_that_people_read() {
        let told = [
            (950, "950 µs"),
            (6_547, "6.55 ms"),
            (22_940, "22.9 ms"),
            (412_300, "412 ms"),
            (1_240_000, "1.2 s"),
            (125_000_000, "2 min 05 s"),
            (3_900_000_000, "1 h 05 min"),
        ];
        for (us, words) in told {
            assert_eq!(lasted(us), words);
        }
    }

    #[test]
    fn short_times_are_told_apart() {
        assert_eq!(milliseconds(1_234.0), "1.23");
        assert_eq!(milliseconds(12_345.0), "12.3");
    }

    #[test]
    fn spans_are_read_and_written_as_people_write_them() {
        for text in ["500ms", "10s", "5m", "1h30m", "1m500ms", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["", "5", "m", "5 m", "-5s", "5x", "99999999999999999999s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
