//! Latency quantiles over time by release.

use crate::Result;
use crate::chart::canvas::{DASHED, DOTTED, Dash, SOLID, paint};
use crate::chart::panel::Panel;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::{Chart, ChartKind, markers, raster, ticks};
use crate::facts::Facts;
use crate::format::{count, duration, ratio};
use crate::series::{Bins, Quantiles, Series};

const TITLE: &str = "Latency of answers over time, by release";
const HEIGHT: u32 = 400;

type Pick = fn(&Quantiles) -> u64;

/// The quantiles with their lines: p50, p95 and p99 differ by pattern, releases by colour.
const LINES: [(&str, Pick, Dash, f64); 3] = [
    ("p50", |q| q.p50, DOTTED, 1.8),
    ("p95", |q| q.p95, DASHED, 1.5),
    ("p99", |q| q.p99, SOLID, 1.7),
];

pub(super) fn draw(facts: &Facts, bins: &Bins) -> Result<Chart> {
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
    let markers = markers::of(facts);
    let entries = legend(facts, &series);
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
        panel.draw_across(canvas, &ticks::time(bins.start, span), "time (UTC)")?;
        markers::draw(canvas, &panel, &placed, true)?;
        for (release, series) in &series {
            draw_release(canvas, &panel, facts, bins, (release, series))?;
        }
        panel.draw_frame(canvas)
    })?;
    let mut notes = vec![scene::bins_note(bins)];
    notes.extend(markers::note(&markers));
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(facts, bins, &series),
        notes,
        picture: Some(raster::picture(kind, svg, (scene::WIDTH, HEIGHT))?),
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
        entries.push(Entry::new(format!("{release} longest"), colour, Sign::Dot));
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
    let values = |pick: Pick| -> Vec<(f64, f64)> {
        let points = series.points.iter();
        points
            .filter_map(|point| {
                let latency = pick(&point.latency?);
                let middle = scene::since(bins, point) + scene::width(bins) / 2.0;
                Some((middle, ratio(latency, 1000)))
            })
            .collect()
    };
    for (x, y) in values(|q| q.max) {
        canvas.dot((panel.x(x), panel.y(y)), 1.2, colour)?;
    }
    for (_, pick, dash, width) in LINES {
        let style = (colour, width, dash);
        scene::draw_series(canvas, panel, &values(pick), scene::gap(bins), style)?;
    }
    Ok(())
}

fn sentence(facts: &Facts, bins: &Bins, series: &[(&str, &Series)]) -> String {
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
        points.filter_map(move |point| Some((point.latency?.p99, *release, point.second)))
    });
    let worst = worst.max_by_key(|(p99, _, second)| (*p99, std::cmp::Reverse(*second)));
    let worst = worst.and_then(|(p99, release, second)| {
        let time = chrono::DateTime::from_timestamp(second, 0)?;
        Some(format!(
            "; the highest p99 of {} was {} of {release} at {} UTC",
            if bins.width == 1 {
                "a second".to_owned()
            } else {
                format!("{} s", bins.width)
            },
            duration(p99),
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
