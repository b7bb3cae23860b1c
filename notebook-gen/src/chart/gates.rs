//! The gates' answers over time.

use code_deploy_record::Gate;

use crate::Result;
use crate::chart::canvas::{Anchor, GREEN, INK, PALE, SOLID, paint};
use crate::chart::health::pixels;
use crate::chart::panel::Panel;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::{Chart, ChartKind, raster, ticks};
use crate::facts::Facts;
use crate::format::{between, clock, counted, ratio};

const TITLE: &str = "Answers of the gates over time";
const LEFT: f64 = 120.0;
const ROW: f64 = 24.0;

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
    let asked: Vec<Gate> = GATES
        .into_iter()
        .filter(|gate| facts.gates.iter().any(|g| g.what.gate == *gate))
        .collect();
    let entries = [
        Entry::new("passed", GREEN, Sign::Dot),
        Entry::new("did not pass", INK, Sign::Cross),
        Entry::new("time it looked", GREEN, Sign::Bar(0.3)),
    ];
    let top = scene::header_height(&entries) + 4.0;
    #[expect(clippy::cast_precision_loss, reason = "at most seven rows")]
    let bottom = top + asked.len() as f64 * ROW;
    let panel = Panel {
        left: LEFT,
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
        let across = ticks::time(facts.since().timestamp(), panel.across.1);
        panel.draw_across(canvas, &across, "time (UTC)")?;
        let mut y = panel.top + ROW / 2.0;
        for gate in &asked {
            canvas.text(gate.word(), (panel.left - 8.0, y), 11.5, INK, Anchor::Right)?;
            canvas.line(&[(panel.left, y), (panel.right, y)], PALE, 0.8, SOLID)?;
            for answer in facts.gates.iter().filter(|g| g.what.gate == *gate) {
                let x = |time| panel.x(ratio(between(facts.since(), time), 1_000_000));
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
