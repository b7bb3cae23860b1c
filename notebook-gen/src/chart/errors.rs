//! Share of failed requests over time by release.

use crate::Result;
use crate::chart::canvas::{Anchor, Canvas, DASHED, DOTTED, Dash, INK, SOLID, paint, text_width};
use crate::chart::latency::lane_height;
use crate::chart::panel::Panel;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign, Value};
use crate::chart::{Chart, ChartKind, bands, markers, ticks};
use crate::facts::Facts;
use crate::format::{count, percent, ratio};
use crate::series::{Bins, Key, Point, Series};

const TITLE: &str = "Failed requests over time, by release";
const HEIGHT: u32 = 320;

/// Written into an empty chart: a line at zero is easily overlooked.
const NONE_FAILED: &str = "no request failed";

/// What no release answered.
const UNANSWERED: &str = "no release (not answered)";

pub(super) fn draw(facts: &Facts, bins: &Bins, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Errors;
    let series = all(bins);
    if series.is_empty() {
        let sentence = "No chart: the record holds no samples of requests.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let bands = bands::of(facts);
    let markers = markers::with_loads(facts, bins, &bands);
    let legend = |(release, _): &(&str, &Series)| {
        let sign = Sign::Line(dash_of(facts, release), 2.0);
        Entry::new(name_of(release), scene::colour_of(facts, release), sign)
    };
    let mut entries: Vec<Entry> = series.iter().map(legend).collect();
    entries.push(scene::edge_entry(bins));
    entries.extend(bands::legend(&bands));
    entries.extend(markers::legend(&markers));
    let svg = paint(kind, (scene::WIDTH, HEIGHT), |canvas| {
        let highest = series.iter().flat_map(|(_, s)| &s.points);
        let highest = highest.map(|p| ratio(p.failed, p.count) * 100.0);
        let (top, up_ticks) = ticks::linear(highest.fold(1.0, f64::max), "");
        let span = scene::span(facts, Some(bins));
        let mut panel = Panel {
            left: scene::LEFT,
            top: scene::header_height(&entries),
            right: scene::RIGHT,
            bottom: f64::from(HEIGHT) - scene::FOOT,
            across: (0.0, span),
            up: (0.0, top),
            logarithmic: false,
        };
        let (placed, lanes) = markers::place(&markers, &panel);
        panel.top += lane_height(lanes);
        scene::draw_header(canvas, TITLE, &entries)?;
        panel.draw_up(canvas, &up_ticks, "failed (% of requests)")?;
        panel.draw_across(
            canvas,
            &ticks::time(bins.start, span),
            &scene::time_title(bins.start),
        )?;
        bands::draw(canvas, &panel, facts, &bands)?;
        markers::draw(canvas, &panel, &placed, true)?;
        panel.draw_frame(canvas)?;
        for one in series.iter().rev() {
            draw_release(canvas, &panel, facts, bins, *one)?;
        }
        if series.iter().all(|(_, series)| series.failed() == 0) {
            let middle = (f64::midpoint(panel.left, panel.right), panel.bottom - 16.0);
            let half = text_width(NONE_FAILED, 11.0) / 2.0 + 3.0;
            let (left, right) = (middle.0 - half, middle.0 + half);
            let ground = (left, middle.1 - 7.0, right, middle.1 + 7.0);
            canvas.rectangle(ground, plotters::style::WHITE, 1.0)?;
            canvas.text(NONE_FAILED, middle, 11.0, INK, Anchor::Middle)?;
        }
        Ok(())
    })?;
    let mut notes = vec![scene::bins_note(bins)];
    notes.extend(markers::note(&markers));
    notes.extend(bands::note(&bands));
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(&series),
        notes,
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, HEIGHT))?),
    })
}

/// Returns the series of all releases, and of what none answered.
fn all(bins: &Bins) -> Vec<(&str, &Series)> {
    let source = bins.vantage();
    let mut series = bins.by_release(source);
    let unanswered = Key {
        source,
        service: String::new(),
        release: String::new(),
    };
    let found = bins.series.get(&unanswered);
    series.extend(found.filter(|s| s.count > 0).map(|s| ("", s)));
    series
}

fn name_of(release: &str) -> &str {
    if release.is_empty() {
        UNANSWERED
    } else {
        release
    }
}

fn dash_of(facts: &Facts, release: &str) -> Dash {
    if release == facts.started.to.as_str() {
        SOLID
    } else if release.is_empty() {
        DOTTED
    } else {
        DASHED
    }
}

fn draw_release(
    canvas: &Canvas<'_>,
    panel: &Panel,
    facts: &Facts,
    bins: &Bins,
    (release, series): (&str, &Series),
) -> Result<()> {
    let points = series.points.iter();
    let failed = |point: &Point| {
        let share = ratio(point.failed, point.count) * 100.0;
        Value::of_release(facts, bins, release, point, share)
    };
    let values: Vec<Value> = points.map(failed).collect();
    let colour = scene::colour_of(facts, release);
    let style = (colour, 2.0, dash_of(facts, release));
    scene::draw_series(canvas, panel, &values, scene::gap(bins), style)?;
    for one in values.iter().filter(|one| one.whole && one.value > 0.0) {
        canvas.dot((panel.x(one.at), panel.y(one.value)), 1.8, colour)?;
    }
    Ok(())
}

fn sentence(series: &[(&str, &Series)]) -> String {
    let figures = series.iter().map(|(release, series)| {
        let causes: Vec<String> = series
            .errors
            .iter()
            .filter(|(_, number)| **number > 0)
            .map(|(class, number)| format!("{} {class}", count(*number)))
            .collect();
        let causes = if causes.is_empty() {
            String::new()
        } else {
            format!(": {}", causes.join(", "))
        };
        format!(
            "{} of {} requests failed with {} ({}{causes})",
            count(series.failed()),
            count(series.count),
            name_of(release),
            percent(series.failed(), series.count)
        )
    });
    format!("{}.", figures.collect::<Vec<_>>().join("; "))
}
