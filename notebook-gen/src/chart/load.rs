//! Latency distribution of the load tests.

use code_deploy_record::LoadTested;
use plotters::style::RGBColor;

use crate::Result;
use crate::chart::canvas::{DASHED, DOTTED, Dash, GREEN, ORANGE, SKY, SOLID, VERMILLION, paint};
use crate::chart::panel::Panel;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::{Chart, ChartKind, ticks};
use crate::facts::{At, Facts};
use crate::format::{count, duration, ratio};

const TITLE: &str = "Latency distribution under load";
const HEIGHT: u32 = 360;
/// Tests that are drawn: as many as there are distinct lines.
const MOST: usize = 8;

/// The shares on the axis, each with its label.
const SHARES: [(f64, &str); 6] = [
    (0.0, "0"),
    (0.5, "50"),
    (0.9, "90"),
    (0.99, "99"),
    (0.999, "99.9"),
    (0.9999, "99.99"),
];

pub(super) fn draw(facts: &Facts, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Load;
    let tests: Vec<&At<LoadTested>> = facts
        .loads
        .iter()
        .filter(|test| !test.what.latency.is_empty())
        .take(MOST)
        .collect();
    if tests.is_empty() {
        let sentence = "No chart: no load test of this run had an answer.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let entries: Vec<Entry> = tests
        .iter()
        .enumerate()
        .map(|(place, test)| {
            let label = format!("{} ({})", test.what.name, test.what.release);
            let (colour, dash) = style(facts, place, test);
            Entry::new(label, colour, Sign::Line(dash, 1.9))
        })
        .collect();
    let svg = paint(kind, (scene::WIDTH, HEIGHT), |canvas| {
        let curves: Vec<Vec<(f64, f64)>> = tests.iter().map(|test| curve(&test.what)).collect();
        let values = || curves.iter().flatten().map(|(_, latency)| *latency);
        let low = values().fold(f64::INFINITY, f64::min);
        let (up, up_ticks) = ticks::logarithmic(low, values().fold(low, f64::max));
        let ends = curves.iter().filter_map(|curve| Some(curve.last()?.0));
        let end = ends.fold(1.0, f64::max);
        let panel = Panel {
            left: scene::LEFT,
            top: scene::header_height(&entries) + 6.0,
            right: scene::RIGHT - 12.0,
            bottom: f64::from(HEIGHT) - scene::FOOT,
            across: (0.0, end),
            up,
            logarithmic: true,
        };
        scene::draw_header(canvas, TITLE, &entries)?;
        panel.draw_up(canvas, &up_ticks, "latency (ms, logarithmic)")?;
        let across = SHARES.map(|(share, label)| (nines(share), label.to_owned()));
        let across = across.into_iter().filter(|(place, _)| *place <= end + 1e-9);
        let across: Vec<_> = across.collect();
        panel.draw_across(
            canvas,
            &across,
            "share of answers that took at most that long (%)",
        )?;
        for (place, (curve, test)) in curves.iter().zip(&tests).enumerate() {
            let (colour, dash) = style(facts, place, test);
            let pixels = curve.iter().map(|(x, y)| (panel.x(*x), panel.y(*y)));
            let pixels: Vec<(f64, f64)> = pixels.collect();
            canvas.line(&pixels, colour, 1.9, dash)?;
        }
        panel.draw_frame(canvas)
    })?;
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(&tests),
        notes: vec![
            "Latency is counted from when a request was due, so that a slow answer does not hide \
             the wait of those behind it. A line ends where the share left is one answer."
                .to_owned(),
        ],
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, HEIGHT))?),
    })
}

fn style(facts: &Facts, place: usize, test: &At<LoadTested>) -> (RGBColor, Dash) {
    let dash = match place % 3 {
        0 => SOLID,
        1 => DASHED,
        _ => DOTTED,
    };
    let colour = scene::colour_of(facts, test.what.release.as_str());
    let others = [VERMILLION, GREEN, SKY, ORANGE];
    let colour = match place {
        0 => colour,
        _ if colour != VERMILLION => colour,
        _ => others.get(place % others.len()).copied().unwrap_or(colour),
    };
    (colour, dash)
}

/// Stretches shares so that each nine takes as much room as the one before.
fn nines(share: f64) -> f64 {
    -(1.0 - share).max(1e-9).log10()
}

fn curve(test: &LoadTested) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut place = 0.0_f64;
    // Beyond one answer in all of them the line would only repeat the longest.
    let last = ratio(test.latency.len(), 1).max(10.0).log10().min(4.0);
    loop {
        let share = 1.0 - 10_f64.powf(-place);
        if let Some(latency) = test.latency.quantile_us(share) {
            points.push((place, ratio(latency, 1000)));
        }
        if place >= last {
            return points;
        }
        place = (place + 0.05).min(last);
    }
}

fn sentence(tests: &[&At<LoadTested>]) -> String {
    let figures = tests.iter().map(|test| {
        let test = &test.what;
        let quantile = |share| duration(test.latency.quantile_us(share).unwrap_or(0));
        format!(
            "{} of {}: {} requests due at {} a second, {} failed, {:.1} good answers a second, \
             p50 {}, p99 {}, longest {}",
            test.name,
            test.release,
            count(test.sent),
            count(u64::from(test.rate)),
            count(test.failed),
            test.throughput,
            quantile(0.5),
            quantile(0.99),
            duration(test.latency.max_us().unwrap_or(0))
        )
    });
    format!("{}.", figures.collect::<Vec<_>>().join("; "))
}
