//! When each step ran and how long.

use code_deploy_record::{Direction, Outcome};

use crate::Result;
use crate::chart::canvas::{
    Anchor, BLUE, Canvas, INK, ORANGE, PALE, SOLID, edge_beside, fit, paint, text_width,
};
use crate::chart::health::pixels;
use crate::chart::latency::lane_height;
use crate::chart::panel::Panel;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::{Chart, ChartKind, markers, ticks};
use crate::facts::{At, Facts, StepEnd};
use crate::format::{between, counted, duration, ratio};
use crate::passed::spent;
use crate::series::Bins;

const TITLE: &str = "Steps over time";
/// The size of the steps' names.
const SIZE: f64 = 10.0;
/// The size of how long a step took.
const TIME: f64 = 9.5;
const ROW: f64 = 16.0;
/// Steps that are drawn: the longest ones, in the order in which they ran.
const MOST_ROWS: usize = 32;

pub(super) fn draw(facts: &Facts, bins: &Bins, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Steps;
    if facts.steps.is_empty() {
        let sentence = "No chart: no step of this run has ended.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let drawn = longest(facts);
    let markers = markers::of(facts, bins);
    let mut entries = legend(&drawn);
    entries.extend(markers::legend(&markers));
    let top = scene::header_height(&entries) + 4.0;
    let mut panel = Panel {
        left: edge_beside(drawn.iter().map(|step| step.what.step.as_str()), SIZE),
        top,
        right: scene::RIGHT,
        bottom: top,
        across: (0.0, scene::span(facts, None)),
        up: (0.0, 1.0),
        logarithmic: false,
    };
    let (placed, lanes) = markers::place(&markers, &panel);
    panel.top += lane_height(lanes);
    #[expect(clippy::cast_precision_loss, reason = "at most some dozens of rows")]
    let high = drawn.len() as f64 * ROW;
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
        markers::draw(canvas, &panel, &placed, true)?;
        let mut y = panel.top + ROW / 2.0;
        for step in &drawn {
            draw_step(canvas, &panel, facts, y, step)?;
            y += ROW;
        }
        panel.draw_frame(canvas)
    })?;
    let mut notes = Vec::new();
    if drawn.len() < facts.steps.len() {
        let (some, all) = (drawn.len(), facts.steps.len());
        notes.push(format!(
            "The {some} longest of {all} steps are drawn, in order of time."
        ));
    }
    let mut standstills = drawn.iter().map(|step| facts.passed_by(step).stood_still());
    if standstills.any(|span| span.num_seconds() > 0) {
        let note =
            "A bar is as long as its step took on the wall; beside it stands the time spent.";
        notes.push(note.to_owned());
    }
    notes.extend(markers::note(&markers));
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(facts),
        notes,
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, height))?),
    })
}

fn legend(steps: &[&At<StepEnd>]) -> Vec<Entry> {
    let any = |matches: fn(&StepEnd) -> bool| steps.iter().any(|step| matches(&step.what));
    let all = [
        (
            any(|step| step.direction == Direction::Apply),
            Entry::new("carried out", BLUE, Sign::Bar(0.9)),
        ),
        (
            any(|step| step.direction == Direction::Undo),
            Entry::new("undone", ORANGE, Sign::Bar(0.9)),
        ),
        (
            any(|step| step.outcome == Outcome::Failed),
            Entry::new("failed", INK, Sign::Cross),
        ),
    ];
    let present = all.into_iter().filter(|(present, _)| *present);
    present.map(|(_, entry)| entry).collect()
}

fn longest(facts: &Facts) -> Vec<&At<StepEnd>> {
    let mut steps: Vec<&At<StepEnd>> = facts.steps.iter().collect();
    let important = |step: &&At<StepEnd>| {
        let failed = step.what.outcome == Outcome::Failed;
        (
            std::cmp::Reverse(failed),
            std::cmp::Reverse(spent(&facts.passed_by(step))),
            step.seq,
        )
    };
    steps.sort_by_key(important);
    steps.truncate(MOST_ROWS);
    let began = |step: &&At<StepEnd>| {
        step.time
            - chrono::TimeDelta::microseconds(i64::try_from(step.what.duration_us).unwrap_or(0))
    };
    steps.sort_by_key(|step| (began(step), step.seq));
    steps
}

fn draw_step(
    canvas: &Canvas<'_>,
    panel: &Panel,
    facts: &Facts,
    y: f64,
    step: &At<StepEnd>,
) -> Result<()> {
    let name = fit(step.what.step.as_str(), SIZE, panel.left - 16.0);
    canvas.text(&name, (panel.left - 8.0, y), SIZE, INK, Anchor::Right)?;
    canvas.line(&[(panel.left, y), (panel.right, y)], PALE, 0.6, SOLID)?;
    let ended = between(facts.axis_start(), step.time);
    let began = ended.saturating_sub(step.what.duration_us);
    let to = panel.x(ratio(ended, 1_000_000));
    let from = panel
        .x(ratio(began, 1_000_000))
        .min(to - 1.5)
        .max(panel.left);
    let (colour, opacity, half) = match step.what.direction {
        Direction::Apply => (BLUE, 0.9, 5.0),
        Direction::Undo => (ORANGE, 0.9, 3.5),
    };
    canvas.rectangle((from, y - half, to, y + half), colour, opacity)?;
    let mut after = to + 5.0;
    if step.what.outcome == Outcome::Failed {
        canvas.cross((to + 6.0, y), 4.0, INK)?;
        after += 9.0;
    }
    let text = duration(spent(&facts.passed_by(step)));
    let wide = text_width(&text, TIME);
    let left = beside((panel.left, panel.right), (from, after), wide);
    // A mark's line, or a bar of the whole width, that would run through the text is broken there.
    canvas.clear((left - 2.0, y - 5.0, left + wide + 2.0, y + 5.0))?;
    canvas.text(&text, (left, y), TIME, INK, Anchor::Left)
}

/// Returns where the time of a step begins that is so wide: behind its bar, before it where there is no room, and inside
/// at its end where there is none on either side. The names of the steps stand left of the plot.
fn beside((left, right): (f64, f64), (from, after): (f64, f64), wide: f64) -> f64 {
    if after + wide < right {
        return after;
    }
    match from - 5.0 - wide {
        before if before >= left + 2.0 => before,
        _ => (right - wide - 4.0).max(left + 2.0),
    }
}

fn sentence(facts: &Facts) -> String {
    let of = |outcome| {
        facts
            .steps
            .iter()
            .filter(|s| s.what.outcome == outcome)
            .count()
    };
    let number = u64::try_from(facts.steps.len()).unwrap_or(u64::MAX);
    let steps = facts.steps.iter();
    let slowest = steps.map(|step| (spent(&facts.passed_by(step)), &step.what.step));
    let slowest = slowest.max_by_key(|(took, _)| *took).map(|(took, step)| {
        let took = duration(took);
        format!("; the longest by time spent was {step} with {took}")
    });
    format!(
        "{} ended, {} as intended and {} failed{}.",
        counted(number, "step"),
        of(Outcome::Done),
        of(Outcome::Failed),
        slowest.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_step_stays_within_the_plot_also_where_its_bar_fills_it() {
        let plot = (200.0, 800.0);
        assert_eq!(beside(plot, (300.0, 405.0), 40.0), 405.0);
        assert_eq!(beside(plot, (600.0, 798.0), 40.0), 555.0);
        let inside = beside(plot, (210.0, 805.0), 40.0);
        assert!(
            inside > 202.0 && inside + 40.0 < 800.0,
            "at {inside} it would stand on a name"
        );
    }
}
