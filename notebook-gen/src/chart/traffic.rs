//! Requests a second by release, and each release's share of them.

use std::collections::BTreeMap;

use crate::Result;
use crate::chart::canvas::{BAND, Canvas, DASHED, Dash, SOLID, paint};
use crate::chart::latency::lane_height;
use crate::chart::panel::Panel;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign, Value};
use crate::chart::{Chart, ChartKind, bands, markers, ticks};
use crate::facts::Facts;
use crate::format::{clock, count, percent, ratio};
use crate::series::{Bins, Point, Series};

const TITLE: &str = "Request rate and traffic share, by release";
const HEIGHT: u32 = 460;
const GAP_BETWEEN: f64 = 16.0;
/// The line of the share as set: under the measured ones, and wide enough to be seen there.
const SET_WIDTH: f64 = 6.0;
const SET: Sign = Sign::Line(SOLID, SET_WIDTH);

pub(super) fn draw(facts: &Facts, bins: &Bins, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Traffic;
    let series = bins.by_release(bins.vantage());
    if series.is_empty() {
        let sentence = "No chart: the record holds no samples of requests.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let bands = bands::of(facts);
    let markers = markers::with_loads(facts, bins, &bands);
    let mut entries = legend(facts, &series);
    entries.push(scene::edge_entry(bins));
    entries.extend(bands::legend(&bands));
    entries.extend(markers::legend(&markers));
    let svg = paint(kind, (scene::WIDTH, HEIGHT), |canvas| {
        let span = scene::span(facts, Some(bins));
        let head = scene::header_height(&entries);
        let panel = |top: f64, bottom: f64, highest: f64| Panel {
            left: scene::LEFT,
            top,
            right: scene::RIGHT,
            bottom,
            across: (0.0, span),
            up: (0.0, highest),
            logarithmic: false,
        };
        let foot = f64::from(HEIGHT) - scene::FOOT;
        let (placed, lanes) = markers::place(&markers, &panel(head, foot, 1.0));
        let top = head + lane_height(lanes);
        let middle = f64::midpoint(top, foot);
        let all = counts_of_all(&series);
        let rates = series.iter().flat_map(|one| rates(facts, bins, &all, *one));
        let highest = rates.map(|rate| rate.value).fold(1.0, f64::max);
        let (highest, rate_ticks) = ticks::linear(highest * 1.05, "");
        let upper = panel(top, middle - GAP_BETWEEN / 2.0, highest);
        let lower = panel(middle + GAP_BETWEEN / 2.0, foot, 105.0);
        scene::draw_header(canvas, TITLE, &entries)?;
        let across = ticks::time(bins.start, span);
        upper.draw_up(canvas, &rate_ticks, "requests a second")?;
        upper.draw_across(canvas, &across, "")?;
        let shares = ticks::linear(100.0, "").1;
        lower.draw_up(canvas, &shares, "share of requests (%)")?;
        lower.draw_across(canvas, &across, &scene::time_title(bins.start))?;
        bands::draw(canvas, &upper, facts, &bands)?;
        bands::draw(canvas, &lower, facts, &bands)?;
        markers::draw(canvas, &upper, &placed, true)?;
        markers::draw(canvas, &lower, &placed, false)?;
        upper.draw_frame(canvas)?;
        lower.draw_frame(canvas)?;
        draw_set_share(canvas, &lower, facts, bins)?;
        draw_series(canvas, (&upper, &lower), facts, bins, &series)
    })?;
    let mut notes = vec![scene::bins_note(bins)];
    if !facts.shifts.is_empty() {
        let to = &facts.started.to;
        notes.push(format!(
            "The wide grey line is the share of {to} as read back where it is served, averaged over \
             the services; the coloured lines are what was measured."
        ));
    }
    if facts
        .shifts
        .iter()
        .any(|one| markers::is_found_late(&one.what))
    {
        let to = &facts.started.to;
        notes.push(format!(
            "When a lease ran out is the end of the last answers of {to} before the run went on; the \
             record could tell it only then."
        ));
    }
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

fn dash_of(facts: &Facts, release: &str) -> Dash {
    if release == facts.started.to.as_str() {
        SOLID
    } else {
        DASHED
    }
}

fn legend(facts: &Facts, series: &[(&str, &Series)]) -> Vec<Entry> {
    let entry = |(release, _): &(&str, &Series)| {
        let sign = Sign::Line(dash_of(facts, release), 1.8);
        Entry::new(*release, scene::colour_of(facts, release), sign)
    };
    let mut entries: Vec<Entry> = series.iter().map(entry).collect();
    if !facts.shifts.is_empty() {
        let label = format!("share of {} as set", facts.started.to);
        entries.push(Entry::new(label, BAND, SET));
    }
    entries
}

/// Returns the rate of a release over the whole measurement: 0 where others answered and it did not.
fn rates(facts: &Facts, bins: &Bins, all: &Counts, one: (&str, &Series)) -> Vec<Value> {
    let (release, own) = (one.0, counts(one.1));
    let seconds = all.keys();
    seconds
        .map(|second| {
            let point = Point {
                second: *second,
                ..Point::default()
            };
            let count = own.get(second).copied().unwrap_or(0);
            let rate = ratio(count, bins.seconds_seen(bins.vantage(), &point));
            Value::of_release(facts, bins, release, &point, rate)
        })
        .collect()
}

/// Requests by the first second of each bin.
type Counts = BTreeMap<i64, u64>;

fn counts(series: &Series) -> Counts {
    let points = series.points.iter();
    points.map(|point| (point.second, point.count)).collect()
}

fn counts_of_all(series: &[(&str, &Series)]) -> Counts {
    let mut all = Counts::new();
    for point in series.iter().flat_map(|(_, series)| &series.points) {
        *all.entry(point.second).or_default() += point.count;
    }
    all
}

fn draw_series(
    canvas: &Canvas<'_>,
    (upper, lower): (&Panel, &Panel),
    facts: &Facts,
    bins: &Bins,
    series: &[(&str, &Series)],
) -> Result<()> {
    let all = counts_of_all(series);
    // Last first: the broken lines of the release before stay visible on the new one's whole ones.
    for (release, series) in series.iter().rev() {
        let style = (
            scene::colour_of(facts, release),
            1.8,
            dash_of(facts, release),
        );
        let rates = rates(facts, bins, &all, (release, series));
        scene::draw_series(canvas, upper, &rates, scene::gap(bins), style)?;
        let own = counts(series);
        let shares = all.iter().map(|(second, whole)| {
            let part = own.get(second).copied().unwrap_or(0);
            let point = Point {
                second: *second,
                ..Point::default()
            };
            Value::of_release(facts, bins, release, &point, ratio(part, *whole) * 100.0)
        });
        let shares: Vec<Value> = shares.collect();
        scene::draw_series(canvas, lower, &shares, scene::gap(bins), style)?;
    }
    Ok(())
}

/// Returns the share of the new release over time as read back, averaged over services: seconds
/// since the start, and percent.
fn set_share(facts: &Facts, bins: &Bins) -> Vec<(f64, f64)> {
    let mut shares: BTreeMap<&str, u16> = BTreeMap::new();
    let mut steps = Vec::new();
    for shift in &facts.shifts {
        let share = shift
            .what
            .served
            .get(&facts.started.to)
            .copied()
            .unwrap_or(0);
        shares.insert(&shift.what.service, share);
        let sum: u64 = shares.values().map(|share| u64::from(*share)).sum();
        let services = u64::try_from(shares.len()).unwrap_or(1).max(1);
        let since =
            crate::format::between(facts.axis_start(), markers::changed_at(facts, bins, shift));
        steps.push((ratio(since, 1_000_000), ratio(sum, services)));
    }
    steps
}

fn draw_set_share(canvas: &Canvas<'_>, panel: &Panel, facts: &Facts, bins: &Bins) -> Result<()> {
    let mut line: Vec<(f64, f64)> = Vec::new();
    for (at, share) in set_share(facts, bins) {
        let x = panel.x(at);
        if let Some((_, before)) = line.last().copied() {
            line.push((x, before));
        }
        line.push((x, panel.y(share)));
    }
    if let Some((_, last)) = line.last().copied() {
        line.push((panel.right, last));
        canvas.line(&line, BAND, SET_WIDTH, SOLID)?;
    }
    Ok(())
}

fn sentence(facts: &Facts, series: &[(&str, &Series)]) -> String {
    let all: u64 = series.iter().map(|(_, series)| series.count).sum();
    let parts = series.iter().map(|(release, series)| {
        let share = percent(series.count, all);
        format!("{release} answered {} ({share})", count(series.count))
    });
    let parts: Vec<String> = parts.collect();
    let last = facts.shifts.last().map(|shift| {
        let share = shift
            .what
            .served
            .get(&facts.started.to)
            .copied()
            .unwrap_or(0);
        format!(
            "; at the last change, {} UTC, {} was set to {share} % of traffic",
            clock(shift.time),
            facts.started.to
        )
    });
    format!(
        "Of {} requests {}{}.",
        count(all),
        parts.join(", "),
        last.unwrap_or_default()
    )
}
