//! How figures are written: the same way on every page, in every chart and in a terminal.

use chrono::{DateTime, Utc};

/// Returns a duration given in microseconds with a sensible unit: `840 µs`, `12.4 ms`, `3.2 s`,
/// `4 min 07 s`, `2 h 05 min`.
#[must_use]
pub fn duration(microseconds: u64) -> String {
    let us = microseconds;
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.2} ms", ratio(us, 1_000)),
        10_000..100_000 => format!("{:.1} ms", ratio(us, 1_000)),
        100_000..1_000_000 => format!("{:.0} ms", ratio(us, 1_000)),
        1_000_000..60_000_000 => format!("{:.1} s", ratio(us, 1_000_000)),
        60_000_000..3_600_000_000 => {
            let seconds = (us + 500_000) / 1_000_000;
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = (us + 30_000_000) / 60_000_000;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
    }
}

/// Returns the microseconds between two times, 0 when `to` is before `from`.
#[must_use]
pub fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> u64 {
    let span = to.signed_duration_since(from).num_microseconds();
    span.and_then(|us| u64::try_from(us).ok()).unwrap_or(0)
}

/// Returns a number with thin groups of three digits: `12 345`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Returns a count with its noun: `1 request`, `5 requests`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Returns a share in percent with a precision that shows small ones: `0 %`, `0.012 %`, `3.4 %`.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "none".to_owned();
    }
    let share = ratio(part, whole) * 100.0;
    if part == 0 {
        "0 %".to_owned()
    } else if share < 0.1 {
        format!("{share:.3} %")
    } else if share < 10.0 {
        format!("{share:.2} %")
    } else {
        format!("{share:.0} %")
    }
}

/// Returns a number of bytes in units of 1024: `512 B`, `3.4 KiB`, `81.2 MiB`.
#[must_use]
pub fn bytes(number: f64) -> String {
    let mut value = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Returns a date and time in UTC, to the second: `2026-11-23 14:02:11 UTC`.
#[must_use]
pub fn moment(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Returns the time of the day in UTC, to the second: `14:02:11`.
#[must_use]
pub fn clock(time: DateTime<Utc>) -> String {
    time.format("%H:%M:%S").to_string()
}

/// Returns the time of the day in UTC, to the millisecond: `14:02:11.204`.
#[must_use]
pub fn fine_clock(time: DateTime<Utc>) -> String {
    time.format("%H:%M:%S%.3f").to_string()
}

/// Returns `part / whole` as a floating point number.
#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people: 53 bits are enough"
)]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Returns the median; of an even number of times, the mean of the two in the middle.
pub(crate) fn median(times: &mut [u64]) -> Option<u64> {
    times.sort_unstable();
    let upper = *times.get(times.len() / 2)?;
    if !times.len().is_multiple_of(2) {
        return Some(upper);
    }
    let lower = times.get(times.len() / 2 - 1)?;
    Some(u64::midpoint(*lower, upper))
}

/// Cuts text at `longest` characters and says so.
pub(crate) fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let kept: String = text.chars().take(longest.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_the_unit_a_reader_expects() {
        let texts: Vec<String> = [0, 840, 12_440, 3_240_000, 247_000_000, 7_500_000_000]
            .into_iter()
            .map(duration)
            .collect();
        let expected = [
            "0 µs",
            "840 µs",
            "12.4 ms",
            "3.2 s",
            "4 min 07 s",
            "2 h 05 min",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [9, 1, 2]), Some(2));
        assert_eq!(median(&mut [9, 1, 2, 4]), Some(3));
    }

    #[test]
    fn a_small_share_is_not_rounded_to_nothing() {
        assert_eq!(percent(1, 100_000), "0.001 %");
        assert_eq!(percent(0, 100_000), "0 %");
        assert_eq!(percent(0, 0), "none");
    }
}
