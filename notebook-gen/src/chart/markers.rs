//! What happened when: marks that every chart over time shares.

use code_deploy_record::Outcome;
use plotters::style::RGBColor;

use crate::Result;
use crate::chart::canvas::{Anchor, Canvas, DASHED, Dash, GREY, INK, SOLID, text_width};
use crate::chart::panel::Panel;
use crate::facts::Facts;
use crate::format::{clock, cut};

/// Rows of labels above a chart.
const LANES: usize = 4;
/// The height of a row of labels.
pub(super) const LANE: f64 = 14.0;

/// A mark on the axis of time.
pub(super) struct Marker {
    /// Seconds since the start.
    pub(super) at: f64,
    pub(super) label: String,
    /// Label with its time, for the caption.
    pub(super) note: String,
    pub(super) alarm: bool,
}

impl Marker {
    fn colour(&self) -> RGBColor {
        if self.alarm { INK } else { GREY }
    }

    fn dash(&self) -> Dash {
        if self.alarm { SOLID } else { DASHED }
    }
}

/// Returns traffic steps, failed gates, and rollbacks of a run, in order of time.
pub(super) fn of(facts: &Facts) -> Vec<Marker> {
    let mut markers = Vec::new();
    let mut add = |time: chrono::DateTime<chrono::Utc>, label: String, alarm: bool| {
        let since = crate::format::between(facts.since(), time);
        markers.push(Marker {
            at: crate::format::ratio(since, 1_000_000),
            note: format!("{} {label}", clock(time)),
            label,
            alarm,
        });
    };
    let mut before = (String::new(), None);
    for shift in &facts.shifts {
        let share = shift
            .what
            .served
            .get(&facts.started.to)
            .copied()
            .unwrap_or(0);
        let same_step = before.0 == shift.what.reason && before.1 == Some(share);
        before = (shift.what.reason.clone(), Some(share));
        if same_step {
            continue;
        }
        let reason = shift.what.reason.to_lowercase();
        let known = ["rehears", "rollback", "promot"];
        let word = known.into_iter().find(|word| reason.contains(word));
        let label = match word {
            Some("rehears") => format!("rehearsal {share} %"),
            Some("rollback") => format!("back {share} %"),
            Some(_) => format!("promotion {share} %"),
            None => format!("{share} %"),
        };
        add(shift.time, label, false);
    }
    for gate in facts.gates.iter().filter(|gate| !gate.what.passed) {
        add(
            gate.time,
            format!("✕ {} gate failed", gate.what.gate.word()),
            true,
        );
    }
    for rollback in &facts.rollbacks {
        add(rollback.time, "rollback begins".to_owned(), true);
    }
    for end in &facts.rollback_ends {
        let done = end.what.0 == Outcome::Done;
        let label = if done {
            "rolled back"
        } else {
            "rollback failed"
        };
        add(end.time, label.to_owned(), true);
    }
    markers.sort_by(|one, other| one.at.total_cmp(&other.at));
    markers.dedup_by(|later, earlier| later.label == earlier.label && later.at - earlier.at < 1.0);
    markers
}

/// A marker's label with its place: the row, and its left edge.
pub(super) struct Placed<'a> {
    marker: &'a Marker,
    lane: Option<usize>,
    left: f64,
}

/// Places labels in rows so that none covers another. What finds no place keeps its line, and
/// its label stands in the caption.
pub(super) fn place<'a>(markers: &'a [Marker], panel: &Panel) -> (Vec<Placed<'a>>, usize) {
    let mut ends = [f64::NEG_INFINITY; LANES];
    let mut placed = Vec::new();
    for marker in markers {
        let width = text_width(&cut(&marker.label, 24), 10.0);
        let x = panel.x(marker.at);
        let left = (x + 3.0).min(panel.right - width);
        let lane = ends.iter().position(|end| *end + 8.0 <= left);
        if let Some(end) = lane.and_then(|lane| ends.get_mut(lane)) {
            *end = left + width;
        }
        placed.push(Placed { marker, lane, left });
    }
    let used = ends.iter().filter(|end| end.is_finite()).count();
    (placed, used)
}

/// Draws the marks' lines through the panel and, above it, their labels, each on a white ground so
/// that no line runs through its words.
pub(super) fn draw(
    canvas: &Canvas<'_>,
    panel: &Panel,
    placed: &[Placed<'_>],
    labels: bool,
) -> Result<()> {
    for Placed { marker, lane, .. } in placed {
        let x = panel.x(marker.at);
        let top = match lane {
            Some(lane) if labels => row(panel, *lane) - 4.0,
            _ => panel.top,
        };
        let width = if marker.alarm { 1.6 } else { 1.0 };
        let line = [(x, top), (x, panel.bottom)];
        canvas.line(&line, marker.colour(), width, marker.dash())?;
    }
    for Placed { marker, lane, left } in placed {
        let Some(lane) = lane.filter(|_| labels) else {
            continue;
        };
        let (text, y) = (cut(&marker.label, 24), row(panel, lane));
        let right = left + text_width(&text, 10.0);
        let ground = (left - 1.0, y - 6.0, right + 2.0, y + 6.5);
        canvas.rectangle(ground, plotters::style::WHITE, 1.0)?;
        canvas.text(&text, (*left, y), 10.0, INK, Anchor::Left)?;
    }
    Ok(())
}

/// Returns the height of a row of labels.
fn row(panel: &Panel, lane: usize) -> f64 {
    let lane = u32::try_from(lane).unwrap_or(0);
    panel.top - 9.0 - f64::from(lane) * LANE
}

/// Returns the sentence of a caption that names the marks.
pub(super) fn note(markers: &[Marker]) -> Option<String> {
    if markers.is_empty() {
        return None;
    }
    let shown: Vec<&str> = markers.iter().take(24).map(|m| m.note.as_str()).collect();
    let more = markers.len().saturating_sub(24);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(format!("Marked (UTC): {}{more}.", shown.join("; ")))
}
