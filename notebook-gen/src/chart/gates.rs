//! The gates' answers over time.

use code_deploy_record::{Gate, GateEvaluated};

use crate::Result;
use crate::chart::canvas::{Anchor, GREEN, INK, PALE, SOLID, edge_beside, fit, paint};
use crate::chart::health::pixels;
use crate::chart::panel::Panel;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::{Chart, ChartKind, raster, ticks};
use crate::facts::{At, Facts};
use crate::format::{between, clock, counted, ratio};

const TITLE: &str = "Answers of the gates over time";
/// The size of the gates' names.
const SIZE: f64 = 10.5;
const ROW: f64 = 20.0;
/// With more subjects there is one row for each gate.
const MOST_ROWS: usize = 24;

const GATES: [Gate; 7] = [
    Gate::Security,
    Gate::Approval,
    Gate::Health,
    Gate::Smoke,
    Gate::Monitoring,
    Gate::Analysis,
    Gate::Baseline,
];

pub(super) fn draw(facts: &Facts) -> Result<Chart> {
    let kind = ChartKind::Gates;
    if facts.gates.is_empty() {
        let sentence = "No chart: no gate was asked in this run.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let rows = rows(facts);
    let entries = legend(facts);
    let top = scene::header_height(&entries) + 4.0;
    #[expect(clippy::cast_precision_loss, reason = "at most some dozens of rows")]
    let bottom = top + rows.len() as f64 * ROW;
    let panel = Panel {
        left: edge_beside(rows.iter().map(|row| row.name.as_str()), SIZE),
        top,
        right: scene::RIGHT,
        bottom,
        across: (0.0, scene::span(facts, None)),
        up: (0.0, 1.0),
        logarithmic: false,
    };
    let height = pixels(bottom + scene::FOOT);
    let svg = paint(kind, (scene::WIDTH, height), |canvas| {
        scene::draw_header(canvas, TITLE, &entries)?;
        let start = facts.since().timestamp();
        let across = ticks::time(start, panel.across.1);
        panel.draw_across(canvas, &across, &scene::time_title(start))?;
        let mut y = panel.top + ROW / 2.0;
        for row in &rows {
            let name = fit(&row.name, SIZE, panel.left - 16.0);
            canvas.text(&name, (panel.left - 8.0, y), SIZE, INK, Anchor::Right)?;
            canvas.line(&[(panel.left, y), (panel.right, y)], PALE, 0.8, SOLID)?;
            for answer in &row.answers {
                let x = |time| panel.x(ratio(between(facts.axis_start(), time), 1_000_000));
                let (from, to) = (x(answer.what.since), x(answer.time));
                let colour = if answer.what.passed { GREEN } else { INK };
                canvas.rectangle((from, y - 5.0, to, y + 5.0), colour, 0.3)?;
                if answer.what.passed {
                    canvas.dot((to, y), 3.2, colour)?;
                } else {
                    canvas.cross((to, y), 5.0, colour)?;
                }
            }
            y += ROW;
        }
        panel.draw_frame(canvas)
    })?;
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(facts),
        notes: Vec::new(),
        picture: Some(raster::picture(kind, svg, (scene::WIDTH, height))?),
    })
}

/// A row: a gate of one subject, or of all where there are many.
struct Row<'a> {
    name: String,
    answers: Vec<&'a At<GateEvaluated>>,
}

fn rows(facts: &Facts) -> Vec<Row<'_>> {
    let mut rows = rows_by(facts, |answer| {
        format!("{}: {}", answer.gate.word(), answer.subject)
    });
    if rows.len() > MOST_ROWS {
        rows = rows_by(facts, |answer| answer.gate.word().to_owned());
    }
    rows
}

fn rows_by(facts: &Facts, name: impl Fn(&GateEvaluated) -> String) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for gate in GATES {
        for answer in facts.gates.iter().filter(|g| g.what.gate == gate) {
            let name = name(&answer.what);
            match rows.iter_mut().find(|row| row.name == name) {
                Some(row) => row.answers.push(answer),
                None => rows.push(Row {
                    name,
                    answers: vec![answer],
                }),
            }
        }
    }
    rows
}

fn legend(facts: &Facts) -> Vec<Entry> {
    let passed = |wanted: bool| facts.gates.iter().any(|gate| gate.what.passed == wanted);
    let mut entries = Vec::new();
    if passed(true) {
        entries.push(Entry::new("passed", GREEN, Sign::Dot(3.2)));
        entries.push(Entry::new("time it looked", GREEN, Sign::Bar(0.3)));
    }
    if passed(false) {
        entries.push(Entry::new("did not pass", INK, Sign::Cross));
        entries.push(Entry::new("time it looked in vain", INK, Sign::Bar(0.3)));
    }
    entries
}

fn sentence(facts: &Facts) -> String {
    let answers = u64::try_from(facts.gates.len()).unwrap_or(u64::MAX);
    let failed: Vec<_> = facts
        .gates
        .iter()
        .filter(|gate| !gate.what.passed)
        .collect();
    let Some(first) = failed.first() else {
        return format!(
            "Gates answered {}, each time with a pass.",
            counted(answers, "time")
        );
    };
    format!(
        "Gates answered {}, {} without a pass; first the {} gate of {} at {} UTC: {}",
        counted(answers, "time"),
        failed.len(),
        first.what.gate.word(),
        first.what.subject,
        clock(first.time),
        first.what.reason
    )
}
