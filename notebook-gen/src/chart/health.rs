//! Health of every instance over time.

use std::collections::BTreeMap;

use code_deploy_record::Probe;

use crate::Result;
use crate::chart::canvas::{Anchor, Canvas, GREEN, INK, ORANGE, PALE, SOLID, paint};
use crate::chart::latency::lane_height;
use crate::chart::panel::Panel;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::{Chart, ChartKind, markers, raster, ticks};
use crate::facts::{At, Facts, HealthNote};
use crate::format::{between, counted, cut, ratio};

const TITLE: &str = "Health of every instance over time";
const LEFT: f64 = 220.0;
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
}

pub(super) fn draw(facts: &Facts) -> Result<Chart> {
    let kind = ChartKind::Health;
    let rows = rows(facts);
    if rows.is_empty() {
        let sentence = "No chart: the record holds no probe of an instance.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let drawn = rows.get(..rows.len().min(MOST_ROWS)).unwrap_or(&[]);
    let markers = markers::of(facts);
    let entries = [
        Entry::new("all probes pass", GREEN, Sign::Bar(0.85)),
        Entry::new("alive, not ready", ORANGE, Sign::Bar(0.55)),
        Entry::new("a liveness or startup probe fails", INK, Sign::Cross),
    ];
    let high = room(drawn.len());
    let head = scene::header_height(&entries);
    let mut panel = Panel {
        left: LEFT,
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
        panel.draw_across(canvas, &across, "time (UTC)")?;
        for (place, row) in drawn.iter().enumerate() {
            draw_row(canvas, &panel, panel.top + room(place) + ROW / 2.0, row)?;
        }
        markers::draw(canvas, &panel, &placed, true)?;
        panel.draw_frame(canvas)
    })?;
    let mut notes = Vec::new();
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
        picture: Some(raster::picture(kind, svg, (scene::WIDTH, height))?),
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
    let mut seen: BTreeMap<(&str, &str, &str), Vec<&At<HealthNote>>> = BTreeMap::new();
    for note in &facts.health {
        let what = &note.what;
        let key = (
            what.service.as_str(),
            what.release.as_str(),
            what.instance.as_str(),
        );
        seen.entry(key).or_default().push(note);
    }
    let row = |((service, release, instance), notes): (_, Vec<&At<HealthNote>>)| Row {
        service,
        release,
        instance,
        spans: spans(facts, &notes),
    };
    seen.into_iter().map(row).collect()
}

fn spans(facts: &Facts, notes: &[&At<HealthNote>]) -> Vec<(f64, State)> {
    let mut probes: BTreeMap<Probe, bool> = BTreeMap::new();
    let mut spans: Vec<(f64, State)> = Vec::new();
    for note in notes {
        probes.insert(note.what.probe, note.what.healthy);
        let fails = |probe: Probe| probes.get(&probe) == Some(&false);
        let state = if fails(Probe::Liveness) || fails(Probe::Startup) {
            State::Dead
        } else if fails(Probe::Readiness) {
            State::Unready
        } else {
            State::Healthy
        };
        let at = ratio(between(facts.since(), note.time), 1_000_000);
        if spans.last().is_none_or(|(_, before)| *before != state) {
            spans.push((at, state));
        }
    }
    spans
}

fn draw_row(canvas: &Canvas<'_>, panel: &Panel, y: f64, row: &Row<'_>) -> Result<()> {
    let label = format!("{} {} {}", row.service, row.release, row.instance);
    let label = if row.instance.contains(row.service) {
        format!("{} ({})", row.instance, row.release)
    } else {
        label
    };
    canvas.text(
        &cut(&label, 32),
        (panel.left - 8.0, y),
        10.5,
        INK,
        Anchor::Right,
    )?;
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
                canvas.rectangle((from, y - 3.0, to, y + 3.0), ORANGE, 0.55)?;
            }
            State::Dead => {
                canvas.line(&[(from, y), (to, y)], INK, 1.4, SOLID)?;
                canvas.cross(((from + 4.0).min(panel.right - 4.0), y), 4.0, INK)?;
            }
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
        let pairs = row.spans.windows(2);
        let fallen = pairs
            .filter(|pair| matches!(pair, [(_, State::Healthy), (_, s)] if *s != State::Healthy));
        fallen.count()
    };
    let fallen: usize = rows.iter().map(falls).sum();
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    format!(
        "{} of {} passed all probes when last seen, {} were not ready, {} not alive; health was \
         lost {}.",
        last(State::Healthy),
        counted(number(rows.len()), "instance"),
        last(State::Unready),
        last(State::Dead),
        counted(number(fallen), "time")
    )
}
