//! Latency quantiles over time by release.

use crate::Result;
use crate::chart::canvas::{DASHED, DOTTED, Dash, SOLID, paint};
use crate::chart::panel::Panel;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign, Value};
use crate::chart::{Chart, ChartKind, bands, markers, ticks};
use crate::facts::Facts;
use crate::format::{count, duration, ratio};
use crate::series::{Bins, Quantiles, Series};

const TITLE: &str = "Latency of answers over time, by release";
const HEIGHT: u32 = 400;

/// The radius of the dot of the longest answer.
const LONGEST: f64 = 1.8;
/// With fewer answers p99 is the longest of them.
const FEW: u64 = 100;

type Pick = fn(&Quantiles) -> u64;

/// The quantiles with their lines: p50, p95 and p99 differ by pattern, releases by colour.
const LINES: [(&str, Pick, Dash, f64); 3] = [
    ("p50", |q| q.p50, DOTTED, 1.8),
    ("p95", |q| q.p95, DASHED, 1.5),
    ("p99", |q| q.p99, SOLID, 1.7),
];

pub(super) fn draw(facts: &Facts, bins: &Bins, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Latency;
    let series: Vec<_> = bins
        .by_release(bins.vantage())
        .into_iter()
        .filter(|(_, series)| series.total.is_some())
        .collect();
    if series.is_empty() {
        let sentence = "No chart: the record holds no samples of answered requests.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let bands = bands::of(facts);
    let markers = markers::with_loads(facts, bins, &bands);
    let mut entries = legend(facts, &series);
    entries.push(scene::edge_entry(bins));
    entries.extend(bands::legend(&bands));
    entries.extend(markers::legend(&markers));
    let svg = paint(kind, (scene::WIDTH, HEIGHT), |canvas| {
        let (low, high) = bounds(&series);
        let (up, up_ticks) = ticks::logarithmic(low, high);
        let head = scene::header_height(&entries);
        let span = scene::span(facts, Some(bins));
        let mut panel = Panel {
            left: scene::LEFT,
            top: head,
            right: scene::RIGHT,
            bottom: f64::from(HEIGHT) - scene::FOOT,
            across: (0.0, span),
            up,
            logarithmic: true,
        };
        let (placed, lanes) = markers::place(&markers, &panel);
        panel.top += lane_height(lanes);
        scene::draw_header(canvas, TITLE, &entries)?;
        panel.draw_up(canvas, &up_ticks, "latency (ms, logarithmic)")?;
        panel.draw_across(
            canvas,
            &ticks::time(bins.start, span),
            &scene::time_title(bins.start),
        )?;
        bands::draw(canvas, &panel, facts, &bands)?;
        markers::draw(canvas, &panel, &placed, true)?;
        panel.draw_frame(canvas)?;
        for (release, series) in &series {
            draw_release(canvas, &panel, facts, bins, (release, series))?;
        }
        Ok(())
    })?;
    let mut notes = vec![scene::bins_note(bins)];
    notes.extend(few_note(&series));
    notes.extend(markers::note(&markers));
    notes.extend(bands::note(&bands));
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(facts, &series),
        notes,
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, HEIGHT))?),
    })
}

/// Returns the room that rows of labels need above a panel.
pub(super) fn lane_height(lanes: usize) -> f64 {
    let lanes = u32::try_from(lanes).unwrap_or(0);
    f64::from(lanes) * markers::LANE + 6.0
}

fn legend(facts: &Facts, series: &[(&str, &Series)]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (release, _) in series {
        let colour = scene::colour_of(facts, release);
        for (name, _, dash, width) in LINES {
            let sign = Sign::Line(dash, width);
            entries.push(Entry::new(format!("{release} {name}"), colour, sign));
        }
        let longest = format!("{release} longest");
        entries.push(Entry::new(longest, colour, Sign::Dot(LONGEST)));
    }
    entries
}

fn bounds(series: &[(&str, &Series)]) -> (f64, f64) {
    let points = series.iter().flat_map(|(_, series)| &series.points);
    let quantiles: Vec<Quantiles> = points.filter_map(|point| point.latency).collect();
    let low = quantiles.iter().map(|q| q.p50).min().unwrap_or(1);
    let high = quantiles.iter().map(|q| q.max).max().unwrap_or(1);
    (ratio(low, 1000), ratio(high, 1000))
}

fn draw_release(
    canvas: &crate::chart::canvas::Canvas<'_>,
    panel: &Panel,
    facts: &Facts,
    bins: &Bins,
    (release, series): (&str, &Series),
) -> Result<()> {
    let colour = scene::colour_of(facts, release);
    let values = |pick: Pick| -> Vec<Value> {
        let points = series.points.iter();
        points
            .filter_map(|point| {
                let latency = pick(&point.latency?);
                let latency = ratio(latency, 1000);
                Some(Value::of_release(facts, bins, release, point, latency))
            })
            .collect()
    };
    for longest in values(|q| q.max) {
        let place = (panel.x(longest.at), panel.y(longest.value));
        canvas.dot(place, LONGEST, colour)?;
    }
    for (_, pick, dash, width) in LINES {
        let style = (colour, width, dash);
        scene::draw_series(canvas, panel, &values(pick), scene::gap(bins), style)?;
    }
    Ok(())
}

/// Says where a quantile of a point is that of a handful of answers.
fn few_note(series: &[(&str, &Series)]) -> Option<String> {
    let points = series.iter().flat_map(|(_, series)| &series.points);
    let few = points.filter(|point| point.count < FEW).count();
    (few > 0).then(|| {
        format!(
            "Points with fewer than {FEW} answers ({few} here) say little by themselves: their p99 \
             is their longest answer."
        )
    })
}

fn sentence(facts: &Facts, series: &[(&str, &Series)]) -> String {
    let figures = series.iter().filter_map(|(release, series)| {
        let total = series.total?;
        Some(format!(
            "{release} answered {} requests with p50 {}, p95 {}, p99 {}, longest {}",
            count(series.count - series.failed().min(series.count)),
            duration(total.p50),
            duration(total.p95),
            duration(total.p99),
            duration(total.max)
        ))
    });
    let figures: Vec<String> = figures.collect();
    let worst = series.iter().flat_map(|(release, series)| {
        let points = series.points.iter();
        points.filter_map(move |point| Some((point.latency?.max, *release, point.second)))
    });
    let worst = worst.max_by_key(|(longest, _, second)| (*longest, std::cmp::Reverse(*second)));
    let worst = worst.and_then(|(_, release, second)| {
        let time = chrono::DateTime::from_timestamp(second, 0)?;
        Some(format!(
            "; the longest answer of all was one of {release}, about {} UTC",
            crate::format::clock(time)
        ))
    });
    let to = facts.started.to.as_str();
    let absent = if series.iter().any(|(release, _)| *release == to) {
        String::new()
    } else {
        format!("; {to} answered none")
    };
    format!(
        "{}{}{absent}.",
        figures.join("; "),
        worst.unwrap_or_default()
    )
}
