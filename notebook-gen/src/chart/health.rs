//! Health of every instance over time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use code_deploy_record::{Probe, Release};

use crate::Result;
use crate::chart::canvas::{
    Anchor, Canvas, GREEN, GREY, INK, ORANGE, PALE, SOLID, edge_beside, fit, paint,
};
use crate::chart::latency::lane_height;
use crate::chart::panel::Panel;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::{Chart, ChartKind, markers, ticks};
use crate::facts::{At, Facts, HealthNote};
use crate::format::{between, clock, counted, ratio};
use crate::series::Bins;
use crate::stopped::{self, Stop};

const TITLE: &str = "Health of every instance over time";
/// The size of the instances' names.
const SIZE: f64 = 10.5;
const ROW: f64 = 20.0;
/// Instances that are drawn; the caption says how many there are.
const MOST_ROWS: usize = 40;

/// An instance's row.
struct Row<'a> {
    service: &'a str,
    release: &'a str,
    instance: &'a str,
    /// Seconds since the start, and what held from then on.
    spans: Vec<(f64, State)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// All probes pass that were seen.
    Healthy,
    /// Alive, but it may not get requests (yet).
    Unready,
    /// Not alive.
    Dead,
    /// A step of the plan stopped it.
    Stopped,
}

pub(super) fn draw(facts: &Facts, bins: &Bins, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Health;
    let rows = rows(facts);
    if rows.is_empty() {
        let sentence = "No chart: the record holds no probe of an instance.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let drawn = rows.get(..rows.len().min(MOST_ROWS)).unwrap_or(&[]);
    let markers = markers::of(facts, bins);
    let names: Vec<String> = drawn.iter().map(name_of).collect();
    let mut entries = legend(drawn);
    entries.extend(markers::legend(&markers));
    let high = room(drawn.len());
    let head = scene::header_height(&entries);
    let mut panel = Panel {
        left: edge_beside(names.iter().map(String::as_str), SIZE),
        top: head,
        right: scene::RIGHT,
        bottom: head,
        across: (0.0, scene::span(facts, None)),
        up: (0.0, 1.0),
        logarithmic: false,
    };
    let (placed, lanes) = markers::place(&markers, &panel);
    panel.top += lane_height(lanes);
    panel.bottom = panel.top + high;
    let height = pixels(panel.bottom + scene::FOOT);
    let svg = paint(kind, (scene::WIDTH, height), |canvas| {
        scene::draw_header(canvas, TITLE, &entries)?;
        let across = ticks::time(facts.since().timestamp(), panel.across.1);
        panel.draw_across(
            canvas,
            &across,
            &scene::time_title(facts.since().timestamp()),
        )?;
        for (place, (row, name)) in drawn.iter().zip(&names).enumerate() {
            let y = panel.top + room(place) + ROW / 2.0;
            let name = fit(name, SIZE, panel.left - 16.0);
            canvas.text(&name, (panel.left - 8.0, y), SIZE, INK, Anchor::Right)?;
            draw_row(canvas, &panel, y, row)?;
        }
        markers::draw(canvas, &panel, &placed, true)?;
        panel.draw_frame(canvas)
    })?;
    let first = facts.health.iter().map(|note| note.time).min();
    let first = first.map(|first| {
        format!(
            "Probes of instances began at {} UTC; rows are empty before.",
            clock(first)
        )
    });
    let mut notes: Vec<String> = first.into_iter().collect();
    let is_stopped = |row: &Row<'_>| row.spans.iter().any(|(_, state)| *state == State::Stopped);
    if rows.iter().any(is_stopped) {
        notes.push(stopped::END.to_owned());
    }
    if rows.len() > drawn.len() {
        let all = rows.len();
        notes.push(format!(
            "The first {MOST_ROWS} of {all} instances are drawn."
        ));
    }
    notes.extend(markers::note(&markers));
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(&rows),
        notes,
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, height))?),
    })
}

#[expect(clippy::cast_precision_loss, reason = "at most some dozens of rows")]
fn room(rows: usize) -> f64 {
    rows as f64 * ROW
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the height of a drawing"
)]
pub(super) fn pixels(height: f64) -> u32 {
    height.ceil().clamp(1.0, 20_000.0) as u32
}

fn rows(facts: &Facts) -> Vec<Row<'_>> {
    let stops = stopped::stops(facts);
    let mut seen: BTreeMap<(&str, &Release, &str), Vec<&At<HealthNote>>> = BTreeMap::new();
    for note in &facts.health {
        let what = &note.what;
        let key = (what.service.as_str(), &what.release, what.instance.as_str());
        seen.entry(key).or_default().push(note);
    }
    let mut rows = Vec::new();
    for ((service, release, instance), notes) in seen {
        let own = stops
            .iter()
            .filter(|stop| stop.stopped_all(service, release));
        let mut spans = spans(facts, &stops, &notes);
        end_stopped(facts, own, &notes, &mut spans);
        rows.push(Row {
            service,
            release: release.as_str(),
            instance,
            spans,
        });
    }
    rows
}

fn since(facts: &Facts, time: DateTime<Utc>) -> f64 {
    ratio(between(facts.axis_start(), time), 1_000_000)
}

fn spans(facts: &Facts, stops: &[Stop], notes: &[&At<HealthNote>]) -> Vec<(f64, State)> {
    let mut probes: BTreeMap<Probe, (bool, bool)> = BTreeMap::new();
    let mut spans: Vec<(f64, State)> = Vec::new();
    let has_readiness = notes.iter().any(|note| note.what.probe == Probe::Readiness);
    for note in notes {
        let on_purpose = !note.what.healthy && stops.iter().any(|stop| stop.explains(note));
        probes.insert(note.what.probe, (note.what.healthy, on_purpose));
        let fails = |probe: Probe| probes.get(&probe) == Some(&(false, false));
        let not_ready_yet = has_readiness && !probes.contains_key(&Probe::Readiness);
        let state = if fails(Probe::Liveness) || fails(Probe::Startup) {
            State::Dead
        } else if fails(Probe::Readiness) || not_ready_yet {
            State::Unready
        } else if probes.values().any(|(_, on_purpose)| *on_purpose) {
            State::Stopped
        } else {
            State::Healthy
        };
        if spans.last().is_none_or(|(_, before)| *before != state) {
            spans.push((since(facts, note.time), state));
        }
    }
    spans
}

/// Ends the row of an instance that was stopped before a probe could notice.
fn end_stopped<'a>(
    facts: &Facts,
    stops: impl Iterator<Item = &'a Stop>,
    notes: &[&At<HealthNote>],
    spans: &mut Vec<(f64, State)>,
) {
    for (left, end) in stops.filter_map(|stop| stop.left(notes).zip(stop.end)) {
        let started_again = notes
            .iter()
            .any(|note| note.time > end && note.what.healthy);
        let ended = spans.last().is_some_and(|(_, s)| *s == State::Stopped);
        if !started_again && !ended {
            let last = spans.last().map_or(0.0, |(from, _)| *from);
            spans.push((since(facts, left).max(last), State::Stopped));
        }
    }
}

/// Names an instance; what its own name says already is not said again.
fn name_of(row: &Row<'_>) -> String {
    let mut name = row.instance.to_owned();
    if !name.contains(row.service) {
        name = format!("{} {name}", row.service);
    }
    if !name.contains(row.release) {
        name = format!("{name} ({})", row.release);
    }
    name
}

fn legend(rows: &[Row<'_>]) -> Vec<Entry> {
    let all = [
        (State::Healthy, "all probes pass", GREEN, Sign::Bar(0.85)),
        (State::Unready, "alive, not ready", ORANGE, Sign::Bar(0.9)),
        (
            State::Dead,
            "liveness or startup probe fails",
            INK,
            Sign::Cross,
        ),
        (State::Stopped, "stopped on purpose", GREY, Sign::End),
    ];
    let has = |state: State| {
        let mut spans = rows.iter().flat_map(|row| &row.spans);
        spans.any(|(_, other)| *other == state)
    };
    let present = all.into_iter().filter(|(state, ..)| has(*state));
    present
        .map(|(_, label, colour, sign)| Entry::new(label, colour, sign))
        .collect()
}

fn draw_row(canvas: &Canvas<'_>, panel: &Panel, y: f64, row: &Row<'_>) -> Result<()> {
    canvas.line(&[(panel.left, y), (panel.right, y)], PALE, 0.8, SOLID)?;
    for (place, (from, state)) in row.spans.iter().enumerate() {
        let next = row.spans.get(place + 1).map(|(next, _)| *next);
        let to = panel.x(next.unwrap_or(panel.across.1));
        let from = panel.x(*from);
        match state {
            State::Healthy => {
                canvas.rectangle((from, y - 6.0, to, y + 6.0), GREEN, 0.85)?;
            }
            State::Unready => {
                canvas.rectangle((from, y - 3.0, to, y + 3.0), ORANGE, 0.9)?;
            }
            State::Dead => {
                canvas.line(&[(from, y), (to, y)], INK, 1.4, SOLID)?;
                canvas.cross(((from + 4.0).min(panel.right - 4.0), y), 4.0, INK)?;
            }
            State::Stopped => canvas.end((from.min(panel.right - 1.0), y), GREY)?,
        }
    }
    Ok(())
}

fn sentence(rows: &[Row<'_>]) -> String {
    let last = |state: State| {
        let matching = rows
            .iter()
            .filter(|row| row.spans.last().is_some_and(|s| s.1 == state));
        matching.count()
    };
    let falls = |row: &Row<'_>| {
        let ill = |state: State| matches!(state, State::Unready | State::Dead);
        let pairs = row.spans.windows(2);
        let fallen = pairs.filter(|pair| matches!(pair, [(_, State::Healthy), (_, s)] if ill(*s)));
        fallen.count()
    };
    let fallen: usize = rows.iter().map(falls).sum();
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let stopped = match last(State::Stopped) {
        0 => String::new(),
        stopped => format!(", {stopped} stopped on purpose"),
    };
    format!(
        "{} of {} passed all probes when last seen, {} not ready, {} not alive{stopped}; health \
         was lost {}.",
        last(State::Healthy),
        counted(number(rows.len()), "instance"),
        last(State::Unready),
        last(State::Dead),
        counted(number(fallen), "time")
    )
}
