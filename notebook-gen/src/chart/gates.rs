//! The gates' answers over time.

use code_deploy_record::{Gate, GateEvaluated};
use plotters::style::RGBColor;

use crate::Result;
use crate::chart::canvas::{Anchor, GREEN, GREY, INK, PALE, SOLID, edge_beside, fit, paint};
use crate::chart::health::pixels;
use crate::chart::latency::lane_height;
use crate::chart::panel::Panel;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::{Chart, ChartKind, markers, ticks};
use crate::facts::{At, Facts};
use crate::format::{between, clock, counted, ratio};
use crate::series::Bins;

const TITLE: &str = "Answers of the gates over time";
/// The size of the gates' names.
const SIZE: f64 = 10.5;
const ROW: f64 = 20.0;
/// With more subjects there is one row for each gate.
const MOST_ROWS: usize = 24;

/// The words of [`GateEvaluated::word`].
const PASSED: &str = "passed";
const NOT_COMPARED: &str = "not compared";
const NO_PASS: &str = "did not pass";

const GATES: [Gate; 7] = [
    Gate::Security,
    Gate::Approval,
    Gate::Health,
    Gate::Smoke,
    Gate::Monitoring,
    Gate::Analysis,
    Gate::Baseline,
];

pub(super) fn draw(facts: &Facts, bins: &Bins, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Gates;
    if facts.gates.is_empty() {
        let sentence = "No chart: no gate was asked in this run.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let rows = rows(facts);
    let markers = markers::of(facts, bins);
    let mut entries = legend(facts);
    entries.extend(markers::legend(&markers));
    let top = scene::header_height(&entries) + 4.0;
    let mut panel = Panel {
        left: edge_beside(rows.iter().map(|row| row.name.as_str()), SIZE),
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
    let high = rows.len() as f64 * ROW;
    panel.bottom = panel.top + high;
    let height = pixels(panel.bottom + scene::FOOT);
    let svg = paint(kind, (scene::WIDTH, height), |canvas| {
        scene::draw_header(canvas, TITLE, &entries)?;
        let start = facts.since().timestamp();
        let across = ticks::time(start, panel.across.1);
        panel.draw_across(canvas, &across, &scene::time_title(start))?;
        markers::draw(canvas, &panel, &placed, true)?;
        let mut y = panel.top + ROW / 2.0;
        for row in &rows {
            let name = fit(&row.name, SIZE, panel.left - 16.0);
            canvas.text(&name, (panel.left - 8.0, y), SIZE, INK, Anchor::Right)?;
            canvas.line(&[(panel.left, y), (panel.right, y)], PALE, 0.8, SOLID)?;
            for answer in &row.answers {
                let x = |time| panel.x(ratio(between(facts.axis_start(), time), 1_000_000));
                let (from, to) = (x(answer.what.since), x(answer.time));
                let (colour, sign) = look(&answer.what);
                canvas.rectangle((from, y - 5.0, to, y + 5.0), colour, 0.3)?;
                match sign {
                    Sign::Ring => canvas.ring((to, y), 3.2, colour)?,
                    Sign::Cross => canvas.cross((to, y), 5.0, colour)?,
                    _ => canvas.dot((to, y), 3.2, colour)?,
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
        notes: markers::note(&markers).into_iter().collect(),
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, height))?),
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

/// Returns colour and sign of an answer. One that let the run go on without having compared
/// anything is no pass.
fn look(answer: &GateEvaluated) -> (RGBColor, Sign) {
    match answer.word() {
        PASSED => (GREEN, Sign::Dot(3.2)),
        NOT_COMPARED => (GREY, Sign::Ring),
        _ => (INK, Sign::Cross),
    }
}

fn legend(facts: &Facts) -> Vec<Entry> {
    let mut entries = Vec::new();
    for word in [PASSED, NOT_COMPARED, NO_PASS] {
        let own = facts.gates.iter().find(|gate| gate.what.word() == word);
        let Some((colour, sign)) = own.map(|gate| look(&gate.what)) else {
            continue;
        };
        let looked = match word {
            NO_PASS => "time it looked in vain",
            NOT_COMPARED => "time it looked, compared with nothing",
            _ => "time it looked",
        };
        entries.push(Entry::new(word, colour, sign));
        entries.push(Entry::new(looked, colour, Sign::Bar(0.3)));
    }
    entries
}

fn sentence(facts: &Facts) -> String {
    let count = |word: &str| {
        let own = facts.gates.iter().filter(|gate| gate.what.word() == word);
        u64::try_from(own.count()).unwrap_or(u64::MAX)
    };
    let answers = u64::try_from(facts.gates.len()).unwrap_or(u64::MAX);
    let (passed, not_compared) = (count(PASSED), count(NOT_COMPARED));
    let answered = format!("Gates answered {}", counted(answers, "time"));
    let Some(first) = facts.gates.iter().find(|gate| !gate.what.passed) else {
        return match not_compared {
            0 => format!("{answered}, each time with a pass."),
            _ => format!(
                "{answered}: {passed} with a pass, and {not_compared} with nothing to compare \
                 with, which let the run go on and is no pass."
            ),
        };
    };
    let beside = match not_compared {
        0 => String::new(),
        number => format!(", {number} with nothing to compare with"),
    };
    format!(
        "{answered}, {} without a pass{beside}; first the {} gate of {} at {} UTC: {}",
        answers - passed - not_compared,
        first.what.gate.word(),
        first.what.subject,
        clock(first.time),
        first.what.reason
    )
}
