//! What charts share: sizes, title, legend, colours of releases, the axis of time.

use plotters::style::RGBColor;

use crate::Result;
use crate::chart::canvas::{
    Anchor, BLUE, Canvas, Dash, GREEN, GREY, INK, ORANGE, PURPLE, SKY, SOLID, VERMILLION,
    text_width,
};
use crate::chart::panel::Panel;
use crate::facts::{At, Facts, Shift};
use crate::series::{Bins, Point};

/// The width of every chart in pixels.
pub(super) const WIDTH: u32 = 860;
/// The right edge of the data.
pub(super) const RIGHT: f64 = 826.0;
/// The left edge of the data where labels are numbers.
pub(super) const LEFT: f64 = 74.0;
/// The room below the data for ticks and title.
pub(super) const FOOT: f64 = 44.0;

/// The radius of an open circle.
const RING: f64 = 2.6;

/// How an entry of the legend is drawn.
#[derive(Clone, Copy)]
pub(super) enum Sign {
    Line(Dash, f64),
    /// A dot with its radius.
    Dot(f64),
    Ring,
    End,
    Bar(f64),
    Hatch,
    Cross,
}

/// An entry of the legend.
pub(super) struct Entry {
    pub(super) label: String,
    pub(super) colour: RGBColor,
    pub(super) sign: Sign,
}

impl Entry {
    pub(super) fn new(label: impl Into<String>, colour: RGBColor, sign: Sign) -> Self {
        let label = crate::format::cut(&label.into(), 40);
        Self {
            label,
            colour,
            sign,
        }
    }
}

/// The colour of a release, the same in every chart of a run.
pub(super) fn colour_of(facts: &Facts, release: &str) -> RGBColor {
    if release.is_empty() {
        return PURPLE;
    }
    if release == facts.started.to.as_str() {
        return VERMILLION;
    }
    if facts
        .started
        .from
        .as_ref()
        .is_some_and(|from| from.as_str() == release)
    {
        return BLUE;
    }
    let others = [GREEN, SKY, ORANGE];
    let sum: usize = release.bytes().map(usize::from).sum();
    others.get(sum % others.len()).copied().unwrap_or(GREY)
}

/// Returns the height of title and legend.
pub(super) fn header_height(entries: &[Entry]) -> f64 {
    let rows = entries.iter().fold((1_u32, LEFT), |(rows, x), entry| {
        let wide = entry_width(entry);
        if x + wide > RIGHT {
            (rows + 1, LEFT + wide)
        } else {
            (rows, x + wide)
        }
    });
    34.0 + f64::from(rows.0) * 17.0
}

fn entry_width(entry: &Entry) -> f64 {
    26.0 + text_width(&entry.label, 11.0) + 18.0
}

/// Draws title and legend.
pub(super) fn draw_header(canvas: &Canvas<'_>, title: &str, entries: &[Entry]) -> Result<()> {
    canvas.text(title, (LEFT, 17.0), 14.0, INK, Anchor::Left)?;
    let (mut x, mut y) = (LEFT, 40.0);
    for entry in entries {
        let wide = entry_width(entry);
        if x + wide > RIGHT && x > LEFT {
            (x, y) = (LEFT, y + 17.0);
        }
        match entry.sign {
            Sign::Line(dash, width) => {
                canvas.line(&[(x, y), (x + 22.0, y)], entry.colour, width, dash)?;
            }
            Sign::Dot(radius) => canvas.dot((x + 11.0, y), radius, entry.colour)?,
            Sign::Ring => canvas.ring((x + 11.0, y), RING, entry.colour)?,
            Sign::End => canvas.end((x + 11.0, y), entry.colour)?,
            Sign::Bar(opacity) => {
                canvas.rectangle((x, y - 5.0, x + 22.0, y + 5.0), entry.colour, opacity)?;
            }
            Sign::Hatch => canvas.hatch((x, y - 5.0, x + 22.0, y + 5.0), entry.colour)?,
            Sign::Cross => canvas.cross((x + 11.0, y), 4.0, entry.colour)?,
        }
        canvas.text(&entry.label, (x + 27.0, y), 11.0, INK, Anchor::Left)?;
        x += wide;
    }
    Ok(())
}

/// Returns how many seconds the axis of time spans.
pub(super) fn span(facts: &Facts, bins: Option<&Bins>) -> f64 {
    let run = crate::format::between(facts.axis_start(), facts.until());
    let run = crate::format::ratio(run, 1_000_000);
    let points = bins.iter().flat_map(|bins| {
        let ends = bins
            .series
            .values()
            .filter_map(|series| series.points.last());
        ends.map(|point| since(bins, point) + width(bins))
    });
    points.fold(run.max(1.0), f64::max)
}

/// Returns the seconds from the start of the run to a point.
pub(super) fn since(bins: &Bins, point: &Point) -> f64 {
    seconds(point.second - bins.start)
}

/// Returns the width of a bin in seconds.
pub(super) fn width(bins: &Bins) -> f64 {
    seconds(bins.width)
}

#[expect(clippy::cast_precision_loss, reason = "seconds of one run")]
fn seconds(number: i64) -> f64 {
    number as f64
}

/// A value over time.
#[derive(Clone, Copy)]
pub(super) struct Value {
    /// Seconds since the start of the run.
    pub(super) at: f64,
    pub(super) value: f64,
    /// Whether its bin was seen from its beginning to its end.
    pub(super) whole: bool,
}

impl Value {
    pub(super) fn new(bins: &Bins, point: &Point, value: f64) -> Self {
        Self {
            at: since(bins, point) + width(bins) / 2.0,
            value,
            whole: !at_edge(bins, point.second),
        }
    }

    /// Makes the value of a release. What is of the bin in which the release got its first traffic
    /// was counted after that moment: it stands behind it, and as seen in part.
    pub(super) fn of_release(
        facts: &Facts,
        bins: &Bins,
        release: &str,
        point: &Point,
        value: f64,
    ) -> Self {
        let plain = Self::new(bins, point, value);
        let (from, to) = (since(bins, point), since(bins, point) + width(bins));
        match first_traffic(facts, release) {
            Some(begin) if begin > from && begin < to => Self {
                at: f64::midpoint(begin, to),
                whole: false,
                ..plain
            },
            _ => plain,
        }
    }
}

/// Returns when the release that is deployed got its first traffic, in seconds since the start;
/// nothing for another release.
fn first_traffic(facts: &Facts, release: &str) -> Option<f64> {
    let to = &facts.started.to;
    let gets = |shift: &&At<Shift>| shift.what.served.get(to).is_some_and(|share| *share > 0);
    let first = facts.shifts.iter().find(gets)?;
    let begin = crate::format::between(facts.axis_start(), first.time);
    (release == to.as_str()).then_some(crate::format::ratio(begin, 1_000_000))
}

/// Returns whether the measurement began or ended within the bin that begins with that second: it
/// then covers less time than the others, and what was counted in it is less.
pub(super) fn at_edge(bins: &Bins, second: i64) -> bool {
    let reach = bins.reach.get(&bins.vantage());
    let within = |edge: i64| edge >= second && edge < second + bins.width;
    reach.is_some_and(|(first, last)| within(*first) || within(*last))
}

/// Draws values over time as a line that breaks where nothing was measured. Bins that were not
/// seen whole stand beside the line as open circles.
pub(super) fn draw_series(
    canvas: &Canvas<'_>,
    panel: &Panel,
    values: &[Value],
    gap: f64,
    (colour, width, dash): (RGBColor, f64, Dash),
) -> Result<()> {
    let mut part: Vec<(f64, f64)> = Vec::new();
    let mut last = f64::NEG_INFINITY;
    let draw = |part: &[(f64, f64)]| match part {
        [] => Ok(()),
        [(x, y)] => canvas.line(&[(x - 1.5, *y), (x + 1.5, *y)], colour, width, SOLID),
        _ => canvas.line(part, colour, width, dash),
    };
    for value in values {
        let place = (panel.x(value.at), panel.y(value.value));
        if !value.whole {
            canvas.ring(place, RING, colour)?;
            continue;
        }
        if value.at - last > gap {
            draw(&part)?;
            part.clear();
        }
        part.push(place);
        last = value.at;
    }
    draw(&part)
}

/// Returns the time without samples after which a line breaks, in seconds.
pub(super) fn gap(bins: &Bins) -> f64 {
    (width(bins) * 2.5).max(2.5)
}

/// Returns the entry of the legend for bins that were not seen whole.
pub(super) fn edge_entry(bins: &Bins) -> Entry {
    let label = if bins.width == 1 {
        "a second seen in part".to_owned()
    } else {
        format!("{} s seen in part", bins.width)
    };
    Entry::new(label, GREY, Sign::Ring)
}

/// Returns the title of the axis of time.
pub(super) fn time_title(start: i64) -> String {
    match chrono::DateTime::from_timestamp(start, 0) {
        Some(time) => format!("time on {} (UTC)", time.format("%Y-%m-%d")),
        None => "time (UTC)".to_owned(),
    }
}

/// Returns the sentence of a caption that says what a point stands for.
pub(super) fn bins_note(bins: &Bins) -> String {
    let source = match bins.vantage() {
        code_deploy_record::Source::Client => "the outside client",
        code_deploy_record::Source::Instance => "the instances",
        _ => "the router",
    };
    let width = if bins.width == 1 {
        "one second".to_owned()
    } else {
        format!("{} seconds", bins.width)
    };
    format!(
        "Measured by {source}; each point covers {width}. Within a point histograms are added, \
         never quantiles averaged, and the longest answer is kept, so that no spike is lost. Where \
         the measurement began and ended, and where a release got its first traffic, a point covers \
         less than that; it is drawn open and beside the lines."
    )
}
