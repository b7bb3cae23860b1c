//! What happened when: marks that every chart over time shares.

mod unattended;

use chrono::{DateTime, Utc};
use code_deploy_record::Outcome;
use plotters::style::RGBColor;

use crate::Result;
use crate::chart::bands::Band;
use crate::chart::canvas::{Anchor, Canvas, DASHED, DOTTED, Dash, GREY, INK, SOLID, text_width};
use crate::chart::panel::Panel;
use crate::chart::scene::{Entry, Sign};
use crate::facts::{At, Facts, Halt, Shift};
use crate::format::{clock, cut};
use crate::series::Bins;

pub(super) use unattended::tell as tell_unattended;

/// Rows of labels above a chart.
const LANES: usize = 5;
/// The size of labels.
const SIZE: f64 = 10.0;
/// Lines that stand closer, in pixels, share one label.
const CLOSE: f64 = 5.0;
/// The longest label, in characters; `✕ analysis gate failed, rollback begins, back 0 %` is whole.
const LONGEST: usize = 64;
/// How far beyond the data's right edge a label may reach.
const BEYOND: f64 = 28.0;
/// The height of a row of labels.
pub(super) const LANE: f64 = 14.0;

/// What kind of thing a mark tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A change of traffic.
    Traffic,
    /// The run stands still or goes on.
    Course,
    /// No process carries the run out from here on.
    Unattended,
    /// A load test begins.
    Load,
    /// Something went wrong.
    Alarm,
}

/// A mark on the axis of time.
pub(super) struct Marker {
    /// Seconds since the start.
    pub(super) at: f64,
    /// Where what it tells of ends, in seconds since the start; nothing for a moment.
    pub(super) until: Option<f64>,
    /// Empty where it has none.
    pub(super) label: String,
    /// Label with its time, for the caption.
    pub(super) note: String,
    pub(super) sort: Sort,
}

impl Marker {
    fn new(facts: &Facts, time: DateTime<Utc>, label: impl Into<String>, sort: Sort) -> Self {
        let label = label.into();
        Self {
            at: seconds(facts, time),
            until: None,
            note: format!("{} {label}", clock(time)),
            label,
            sort,
        }
    }
}

/// Returns the seconds from where the axis begins to a moment.
fn seconds(facts: &Facts, time: DateTime<Utc>) -> f64 {
    let since = crate::format::between(facts.axis_start(), time);
    crate::format::ratio(since, 1_000_000)
}

/// Returns whether traffic had gone back before the record tells it: nobody who writes the record
/// was there when the lease ran out.
pub(super) fn is_found_late(shift: &Shift) -> bool {
    shift.reason.contains("the lease had run out")
}

/// Returns when traffic changed. Where it went back with the lease, that is the end of the bin in
/// which the new release answered last, as far as samples tell it.
pub(super) fn changed_at(facts: &Facts, bins: &Bins, shift: &At<Shift>) -> DateTime<Utc> {
    if !is_found_late(&shift.what) {
        return shift.time;
    }
    let found = shift.time.timestamp();
    let series = bins.by_release(bins.vantage()).into_iter();
    let own = series.filter(|(release, _)| *release == facts.started.to.as_str());
    let points = own.flat_map(|(_, series)| &series.points);
    let ends = points.map(|point| point.second + bins.width);
    let last = ends.filter(|end| *end <= found).max();
    last.and_then(|end| DateTime::from_timestamp(end, 0))
        .unwrap_or(shift.time)
}

/// Returns traffic steps, halts, failed gates, and rollbacks of a run, in order of time.
pub(super) fn of(facts: &Facts, bins: &Bins) -> Vec<Marker> {
    with_loads(facts, bins, &[])
}

/// Returns the same with the beginnings of load tests.
pub(super) fn with_loads(facts: &Facts, bins: &Bins, bands: &[Band]) -> Vec<Marker> {
    let mut markers = shifts(facts, bins);
    markers.extend(halts(facts));
    markers.extend(unattended::markers(facts));
    markers.extend(alarms(facts));
    let load = |band: &Band| Marker::new(facts, band.from, "load test", Sort::Load);
    markers.extend(bands.iter().map(load));
    markers.sort_by(|one, other| one.at.total_cmp(&other.at));
    markers.dedup_by(|later, earlier| later.label == earlier.label && later.at - earlier.at < 1.0);
    markers
}

fn shifts(facts: &Facts, bins: &Bins) -> Vec<Marker> {
    let mut markers = Vec::new();
    let mut before = (String::new(), None);
    for shift in &facts.shifts {
        let share = shift
            .what
            .served
            .get(&facts.started.to)
            .copied()
            .unwrap_or(0);
        let same_step = before.0 == shift.what.reason && before.1 == Some(share);
        before = (shift.what.reason.clone(), Some(share));
        if same_step {
            continue;
        }
        let time = changed_at(facts, bins, shift);
        if is_found_late(&shift.what) {
            let label = format!("lease ran out, {share} %");
            let mut marker = Marker::new(facts, time, label, Sort::Alarm);
            marker.note = format!("about {}", marker.note);
            markers.push(marker);
            continue;
        }
        let label = shift_label(&shift.what, share);
        markers.push(Marker::new(facts, time, label, Sort::Traffic));
    }
    markers
}

fn shift_label(shift: &Shift, share: u16) -> String {
    let reason = shift.reason.to_lowercase();
    let known = ["forward again", "rehears", "rollback", "promot"];
    let word = known.into_iter().find(|word| reason.contains(word));
    match word {
        Some("forward again") => format!("again {share} %"),
        Some("rehears") => format!("rehearsal {share} %"),
        Some("rollback") => format!("back {share} %"),
        Some(_) => format!("promotion {share} %"),
        None => format!("{share} %"),
    }
}

/// Where the run stood still and went on. A process that takes over goes on at once: one mark.
fn halts(facts: &Facts) -> Vec<Marker> {
    let mut markers = Vec::new();
    let mut before = None;
    for halt in &facts.halts {
        let label = match halt.what {
            Halt::Paused => "paused",
            Halt::TakenOver => "another process goes on",
            Halt::Resumed => "goes on",
        };
        let told = before.replace(halt.what) == Some(Halt::TakenOver);
        if !(told && halt.what == Halt::Resumed) {
            markers.push(Marker::new(facts, halt.time, label, Sort::Course));
        }
    }
    markers
}

fn alarms(facts: &Facts) -> Vec<Marker> {
    let mut markers = Vec::new();
    let mut add = |time: DateTime<Utc>, label: &str| {
        markers.push(Marker::new(facts, time, label, Sort::Alarm));
    };
    for gate in facts.gates.iter().filter(|gate| !gate.what.passed) {
        add(
            gate.time,
            &format!("✕ {} gate failed", gate.what.gate.word()),
        );
    }
    for rollback in &facts.rollbacks {
        add(rollback.time, "rollback begins");
    }
    for end in &facts.rollback_ends {
        let label = match end.what.0 {
            Outcome::Done => "rolled back",
            _ => "rollback failed",
        };
        add(end.time, label);
    }
    markers
}

/// Marks so close that their lines cannot be told apart, with one label and its place.
pub(super) struct Placed {
    /// Where the lines stand, and what each tells of.
    lines: Vec<(f64, Sort)>,
    /// From where to where no process carried the run out.
    bands: Vec<(f64, f64)>,
    label: String,
    /// The row, if there was one where the label covers nothing.
    lane: Option<usize>,
    left: f64,
    right: f64,
}

impl Placed {
    fn at(&self) -> f64 {
        self.lines.first().map_or(0.0, |(x, _)| *x)
    }

    fn stand_at(&mut self, left: f64) {
        let width = self.right - self.left;
        (self.left, self.right) = (left, left + width);
    }

    /// Returns where the label begins when it ends just before its first line.
    fn beside_on_the_left(&self) -> f64 {
        self.at() - 3.0 - (self.right - self.left)
    }

    fn is_alarm(&self) -> bool {
        self.lines.iter().any(|(_, sort)| *sort == Sort::Alarm)
    }

    fn is_crossed_by(&self, other: &Self) -> bool {
        let crosses = |x: f64| x > self.left - 2.0 && x < self.right + 2.0;
        other.lines.iter().any(|(x, _)| crosses(*x))
    }

    /// Returns whether the label can stand in that row: it covers no other label, no line that
    /// reaches up to it, and its own line runs through no label below it.
    fn fits(&self, lane: usize, others: &[&Self]) -> bool {
        others.iter().all(|other| {
            let Some(row) = other.lane else {
                return true;
            };
            let apart = other.right + 6.0 <= self.left || self.right + 6.0 <= other.left;
            let covers = row == lane && !apart;
            let hides = row >= lane && self.is_crossed_by(other);
            let pierces = lane >= row && other.is_crossed_by(self);
            !(covers || hides || pierces)
        })
    }
}

/// Gathers marks that stand closer than lines can be told apart.
fn gather(markers: &[Marker], panel: &Panel) -> Vec<Placed> {
    let mut groups: Vec<Placed> = Vec::new();
    for marker in markers {
        let x = panel.x(marker.at);
        let band = marker.until.map(|until| (x, panel.x(until)));
        match groups.last_mut() {
            Some(group) if x - group.at() < CLOSE => {
                group.lines.push((x, marker.sort));
                group.bands.extend(band);
                let labels = [group.label.as_str(), marker.label.as_str()];
                let labels = labels.into_iter().filter(|label| !label.is_empty());
                group.label = labels.collect::<Vec<_>>().join(", ");
            }
            _ => groups.push(Placed {
                lines: vec![(x, marker.sort)],
                bands: band.into_iter().collect(),
                label: marker.label.clone(),
                lane: None,
                left: 0.0,
                right: 0.0,
            }),
        }
    }
    for group in &mut groups {
        group.label = cut(&group.label, LONGEST);
        let width = text_width(&group.label, SIZE);
        let after = group.lines.last().map_or(0.0, |(x, _)| *x) + 3.0;
        (group.left, group.right) = (after, after + width);
    }
    groups
}

/// How labels are placed: on which side of their lines where there is room, and which come first.
#[derive(Clone, Copy)]
struct Manner {
    left: bool,
    alarms_first: bool,
}

/// Ways to place labels, the plainest first.
const MANNERS: [Manner; 4] = [
    Manner {
        left: false,
        alarms_first: false,
    },
    Manner {
        left: true,
        alarms_first: false,
    },
    Manner {
        left: false,
        alarms_first: true,
    },
    Manner {
        left: true,
        alarms_first: true,
    },
];

/// Places labels in rows so that none covers another or another's line: beside its line on the
/// right, or on the left where the drawing ends. What finds no place keeps its line, and its label
/// stands in the caption. Of the ways to place them the one counts that leaves out the fewest, and
/// none that tells of something that went wrong. Returns how many rows are used.
pub(super) fn place(markers: &[Marker], panel: &Panel) -> (Vec<Placed>, usize) {
    let placed = MANNERS.map(|manner| {
        let mut groups = gather(markers, panel);
        put(&mut groups, panel, manner);
        groups
    });
    let left_out = |groups: &Vec<Placed>| {
        let hidden = groups.iter().filter(|group| group.lane.is_none());
        let alarms = hidden.clone().filter(|group| group.is_alarm()).count();
        (alarms, hidden.count())
    };
    let groups = placed.into_iter().min_by_key(left_out).unwrap_or_default();
    let used = groups.iter().filter_map(|group| group.lane).max();
    (groups, used.map_or(0, |lane| lane + 1))
}

fn put(groups: &mut [Placed], panel: &Panel, manner: Manner) {
    let limit = panel.right + BEYOND;
    let (mut inside, mut at_edge): (Vec<&mut Placed>, Vec<&mut Placed>) =
        groups.iter_mut().partition(|group| group.right <= limit);
    for group in &mut at_edge {
        let left = group.beside_on_the_left();
        group.stand_at(left.max(panel.left));
    }
    for group in inside.iter_mut().filter(|_| manner.left) {
        let left = group.beside_on_the_left();
        if left >= panel.left {
            group.stand_at(left);
        }
    }
    // From the right: an earlier label stands above the lines of later ones. Where labels stand on
    // the left, as at the edge, it is the other way round.
    if !manner.left {
        inside.reverse();
    }
    let mut order = inside;
    order.append(&mut at_edge);
    if manner.alarms_first {
        order.sort_by_key(|group| !group.is_alarm());
    }
    for place in 0..order.len() {
        let (before, rest) = order.split_at_mut(place);
        let Some(group) = rest.first_mut() else {
            continue;
        };
        if group.label.is_empty() {
            continue;
        }
        let before: Vec<&Placed> = before.iter().map(|other| &**other).collect();
        group.lane = (0..LANES).find(|lane| group.fits(*lane, &before));
    }
}

/// Draws the marks' lines through the panel and, above it, their labels.
pub(super) fn draw(
    canvas: &Canvas<'_>,
    panel: &Panel,
    placed: &[Placed],
    labels: bool,
) -> Result<()> {
    for group in placed {
        let top = match group.lane {
            Some(lane) if labels => row(panel, lane) - 4.0,
            _ => panel.top,
        };
        for band in &group.bands {
            unattended::draw(canvas, panel, *band)?;
        }
        for (x, sort) in &group.lines {
            let (colour, width, dash) = style(*sort);
            canvas.line(&[(*x, top), (*x, panel.bottom)], colour, width, dash)?;
        }
        if let Some(lane) = group.lane.filter(|_| labels) {
            let at = (group.left, row(panel, lane));
            canvas.text(&group.label, at, SIZE, INK, Anchor::Left)?;
        }
    }
    Ok(())
}

/// Returns where the marks' lines stand, from left to right: labels of a chart keep clear of them.
pub(super) fn lines(placed: &[Placed]) -> Vec<f64> {
    let lines = placed.iter().flat_map(|group| &group.lines);
    let mut lines: Vec<f64> = lines.map(|(x, _)| *x).collect();
    lines.sort_by(f64::total_cmp);
    lines
}

/// Returns the entries of a legend that say what the marks are.
pub(super) fn legend(markers: &[Marker]) -> Vec<Entry> {
    let lease = markers.iter().any(|one| one.label.contains("lease"));
    let alarm = match lease {
        true => "failed gate, rollback, end of a lease",
        false => "failed gate, rollback",
    };
    let kinds = [
        (Sort::Traffic, "change of traffic"),
        (Sort::Course, "pause, or the run goes on"),
        (Sort::Alarm, alarm),
    ];
    let has = |sort: Sort| markers.iter().any(|marker| marker.sort == sort);
    let present = kinds.into_iter().filter(|(sort, _)| has(*sort));
    let entries = present.map(|(sort, label)| {
        let (colour, width, dash) = style(sort);
        Entry::new(label, colour, Sign::Line(dash, width))
    });
    let bands = has(Sort::Unattended).then(unattended::legend);
    entries.chain(bands).collect()
}

fn style(sort: Sort) -> (RGBColor, f64, Dash) {
    match sort {
        Sort::Traffic => (GREY, 1.0, DASHED),
        Sort::Course | Sort::Unattended => (GREY, 1.0, DOTTED),
        Sort::Load => (GREY, 1.0, SOLID),
        Sort::Alarm => (INK, 1.6, SOLID),
    }
}

/// Returns the height of a row of labels.
fn row(panel: &Panel, lane: usize) -> f64 {
    let lane = u32::try_from(lane).unwrap_or(0);
    panel.top - 9.0 - f64::from(lane) * LANE
}

/// Returns the sentence of a caption that names the marks. Load tests have one of their own, with their ends.
pub(super) fn note(markers: &[Marker]) -> Option<String> {
    let told = markers.iter().filter(|marker| marker.sort != Sort::Load);
    let told = told.filter(|marker| !marker.label.is_empty());
    let told: Vec<&str> = told.map(|marker| marker.note.as_str()).collect();
    if told.is_empty() {
        return None;
    }
    let shown: Vec<&str> = told.iter().take(24).copied().collect();
    let more = told.len().saturating_sub(24);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(format!("Marked (UTC): {}{more}.", shown.join("; ")))
}

#[cfg(test)]
mod tests;
