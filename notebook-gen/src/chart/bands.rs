//! When load tests ran: bands in the charts of what was measured meanwhile.

use chrono::{DateTime, TimeDelta, Utc};

use crate::Result;
use crate::chart::canvas::{Canvas, GREY, SOLID};
use crate::chart::panel::Panel;
use crate::chart::scene::{Entry, Sign};
use crate::facts::Facts;
use crate::format::{between, clock, ratio};

/// How strongly a band covers what is below it.
const OPACITY: f64 = 0.12;

/// A time in which load tests ran, one or several without a break.
pub(super) struct Band {
    pub(super) from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// How many tests.
    number: u32,
}

/// Returns when load tests ran, in order of time. The record says when each ended and how long it lasted.
pub(super) fn of(facts: &Facts) -> Vec<Band> {
    let spans = facts.loads.iter().map(|load| {
        let lasted = i64::try_from(load.what.duration_us).unwrap_or(0);
        let from = load
            .time
            .checked_sub_signed(TimeDelta::microseconds(lasted));
        (from.unwrap_or(load.time), load.time)
    });
    let mut spans: Vec<_> = spans.collect();
    spans.sort_unstable();
    let mut bands: Vec<Band> = Vec::new();
    for (from, to) in spans {
        match bands.last_mut() {
            // What stands closer than a second apart cannot be told apart in samples of a second.
            Some(band) if from <= band.to + TimeDelta::seconds(1) => {
                band.to = band.to.max(to);
                band.number += 1;
            }
            _ => bands.push(Band {
                from,
                to,
                number: 1,
            }),
        }
    }
    bands
}

/// Draws the bands and the line at the end of each; the one at its beginning is a mark with a label.
pub(super) fn draw(
    canvas: &Canvas<'_>,
    panel: &Panel,
    facts: &Facts,
    bands: &[Band],
) -> Result<()> {
    let x = |time| panel.x(ratio(between(facts.axis_start(), time), 1_000_000));
    for band in bands {
        let (from, to) = (x(band.from), x(band.to));
        canvas.rectangle((from, panel.top, to, panel.bottom), GREY, OPACITY)?;
        canvas.line(&[(to, panel.top), (to, panel.bottom)], GREY, 1.0, SOLID)?;
    }
    Ok(())
}

/// Returns the legend's entry, if there is a band.
pub(super) fn legend(bands: &[Band]) -> Option<Entry> {
    let entry = || Entry::new("load test", GREY, Sign::Bar(OPACITY));
    (!bands.is_empty()).then(entry)
}

/// Returns the sentence of a caption that says when load tests ran.
pub(super) fn note(bands: &[Band]) -> Option<String> {
    let texts = bands.iter().map(|band| {
        let what = match band.number {
            1 => "a load test".to_owned(),
            number => format!("{number} load tests"),
        };
        let (from, to) = (clock(band.from), clock(band.to));
        format!("from {from} to {to} UTC {what}")
    });
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| format!("Shaded: {} ran as well.", texts.join(", ")))
}
