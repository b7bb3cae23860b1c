//! When no process carried the run out: hatched bands, told apart from shaded ones by their pattern and in words. A process
//! that was killed between two steps leaves nothing else in the record.

use code_deploy_record::{Idle, Standstill};

use super::{Marker, Sort, seconds};
use crate::Result;
use crate::chart::Chart;
use crate::chart::canvas::{Canvas, DOTTED, GREY};
use crate::chart::panel::Panel;
use crate::chart::scene::{Entry, Sign};
use crate::facts::Facts;
use crate::format::{clock, counted, duration};
use crate::passed::microseconds;

/// Up to so many bands have labels. A run that cells of a notebook hand on has one between every two of them.
const LABELLED: usize = 6;

/// The most bands that are drawn; the words count all.
const MOST: usize = 1_000;

/// A narrower band, in pixels, is a line.
const NARROWEST: f64 = 1.5;

/// How bands are to be read.
const NOTE: &str = "Hatched is the time from the last event of a process to the first of the next one, of a second or more; \
                    a process that was killed may have worked on for a part of it.";

/// Returns the times in which no process carried the run out. What is shorter than a second cannot be told apart in samples
/// of a second.
fn bands(facts: &Facts) -> Vec<Standstill> {
    let over = facts.standstills.over().iter().copied();
    let unattended = over.filter(|one| one.idle == Idle::Unattended);
    unattended
        .filter(|one| one.lasted().num_seconds() > 0)
        .collect()
}

/// Returns a mark where each band begins, and where few have labels one where the run goes on.
pub(super) fn markers(facts: &Facts) -> Vec<Marker> {
    let bands = bands(facts);
    let is_labelled = bands.len() <= LABELLED;
    let label = if is_labelled { "no process" } else { "" };
    let mut markers = Vec::new();
    for band in bands.iter().take(MOST) {
        let mut begin = Marker::new(facts, band.from, label, Sort::Unattended);
        begin.until = Some(seconds(facts, band.to));
        markers.push(begin);
        let is_told = facts.halts.iter().any(|halt| halt.time == band.to);
        if is_labelled && !is_told {
            let label = "another process goes on";
            markers.push(Marker::new(facts, band.to, label, Sort::Course));
        }
    }
    markers
}

/// Draws a band from one place to another, and the line at its end.
pub(super) fn draw(canvas: &Canvas<'_>, panel: &Panel, (from, to): (f64, f64)) -> Result<()> {
    if to - from < NARROWEST {
        return Ok(());
    }
    canvas.hatch((from, panel.top, to, panel.bottom), GREY)?;
    canvas.line(&[(to, panel.top), (to, panel.bottom)], GREY, 1.0, DOTTED)
}

/// Returns the legend's entry.
pub(super) fn legend() -> Entry {
    Entry::new("no process carried the run out", GREY, Sign::Hatch)
}

/// Adds to the words of a chart over time, which are also its text alternative, when no process carried the run out.
pub(in crate::chart) fn tell(facts: &Facts, chart: &mut Chart) {
    let bands = bands(facts);
    let Some(longest) = bands.iter().max_by_key(|band| band.lasted()) else {
        return;
    };
    let lasted = |span| duration(microseconds(span));
    let from_to = format!(
        "from {} to {} UTC ({})",
        clock(longest.from),
        clock(longest.to),
        lasted(longest.lasted())
    );
    let times = u64::try_from(bands.len()).unwrap_or(u64::MAX);
    let text = match times {
        1 => format!("No process carried the run out {from_to}."),
        _ => format!(
            "No process carried the run out {}, {} in all, the longest time {from_to}.",
            counted(times, "time"),
            lasted(bands.iter().map(Standstill::lasted).sum())
        ),
    };
    let sentence = chart.sentence.trim_end().trim_end_matches('.');
    chart.sentence = format!("{sentence}. {text}");
    chart.notes.push(NOTE.to_owned());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chrono::TimeDelta;
    use code_deploy_record::{Digest, Event, EventBody, Severity, Standstills};
    use code_deploy_synthetic::{self as synthetic, Story};

    use super::*;
    use crate::chart::ChartKind;

    /// Returns a run of which no process carried so many parts out, each for so many milliseconds.
    fn facts(parts: u32, milliseconds: i64) -> Facts {
        let project = tempfile::tempdir().unwrap();
        let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
        let mut facts = Facts::read(&run).unwrap();
        facts.standstills = Standstills::default();
        let mut note = |after: TimeDelta, body: EventBody| {
            facts.standstills.note(&Event {
                seq: 1,
                time: synthetic::start() + after,
                actor: "engine".to_owned(),
                prev: Digest::ZERO,
                body,
            });
        };
        note(TimeDelta::zero(), taken(1));
        for part in 1..=parts {
            let from = TimeDelta::seconds(10 * i64::from(part));
            let severity = Severity::Info;
            let text = "the last word".to_owned();
            note(from, EventBody::Noted { severity, text });
            let to = from + TimeDelta::milliseconds(milliseconds);
            note(to, taken(1 + u64::from(part)));
        }
        facts
    }

    fn taken(fencing: u64) -> EventBody {
        EventBody::LockTaken {
            fencing,
            host: "vm".to_owned(),
            pid: 7,
            program: "0.1.0".to_owned(),
        }
    }

    fn told(facts: &Facts) -> String {
        let mut chart = Chart::absent(ChartKind::Steps, "Steps", "8 steps ended.");
        tell(facts, &mut chart);
        chart.sentence
    }

    #[test]
    fn few_bands_have_labels_where_they_begin_and_end() {
        let facts = facts(2, 2_000);
        let labels: Vec<String> = markers(&facts).into_iter().map(|one| one.label).collect();
        let goes_on = "another process goes on";
        assert_eq!(labels, ["no process", goes_on, "no process", goes_on]);
    }

    #[test]
    fn many_bands_have_no_labels_and_are_told_together() {
        let facts = facts(8, 2_000);
        let markers = markers(&facts);
        assert_eq!(markers.len(), 8);
        let is_band = |one: &Marker| one.label.is_empty() && one.until.is_some();
        assert!(markers.iter().all(is_band));
        assert_eq!(
            told(&facts),
            "8 steps ended. No process carried the run out 8 times, 16.0 s in all, the longest time from 14:01:20 to \
             14:01:22 UTC (2.0 s)."
        );
    }

    #[test]
    fn what_one_process_hands_to_the_next_at_once_is_no_band() {
        let facts = facts(3, 400);
        assert!(markers(&facts).is_empty());
        assert_eq!(told(&facts), "8 steps ended.");
    }
}
