//! The rollout over time: which release had which share of traffic, and when its instances ran.

mod held;

use std::collections::BTreeMap;

use crate::Result;
use crate::chart::canvas::{
    Anchor, BAND, Canvas, GREY, INK, PALE, SOLID, edge_beside, fit, paint, text_width,
};
use crate::chart::health::pixels;
use crate::chart::latency::lane_height;
use crate::chart::markers::{self, Marker, Sort};
use crate::chart::panel::Panel;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::services::{as_count, live};
use crate::chart::topology::{self, Instance};
use crate::chart::{Chart, ChartKind, ticks};
use crate::facts::Facts;
use crate::format::{clock, counted};
use crate::series::Bins;
use crate::stopped;

use held::{Life, Row, Span, rows, since};

const TITLE: &str = "Rollout over time: traffic and instances by release";
/// The size of the names of services, and of what stands in the bands.
const NAME: f64 = 10.5;
const SIZE: f64 = 10.0;
/// The heights of a service's traffic, of the line of a release's instances, and what lies between services.
const TRAFFIC: f64 = 40.0;
const LIFE: f64 = 15.0;
const GAP: f64 = 12.0;
/// The height of the phases below.
const PHASES: f64 = 16.0;
/// How strongly a release's colour covers the ground: text on it stays legible.
const OPACITY: f64 = 0.45;
const LIFE_OPACITY: f64 = 0.25;
/// Services that are drawn; the caption says how many there are.
const MOST_ROWS: usize = 10;

pub(super) fn draw(facts: &Facts, bins: &Bins, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Rollout;
    let all = rows(facts, bins);
    if all.is_empty() {
        let sentence = "No chart: this run started no instance and moved no traffic.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let instances = topology::instances(facts);
    let drawn = all.get(..all.len().min(MOST_ROWS)).unwrap_or(&[]);
    let markers = markers::of(facts, bins);
    let mut entries = legend(facts, drawn);
    entries.extend(markers::legend(&markers));
    let head = scene::header_height(&entries);
    let names = drawn.iter().map(|row| row.service);
    let mut panel = Panel {
        left: edge_beside(names, NAME),
        top: head,
        right: scene::RIGHT,
        bottom: head,
        across: (0.0, scene::span(facts, None)),
        up: (0.0, 1.0),
        logarithmic: false,
    };
    let (placed, lanes) = markers::place(&markers, &panel);
    panel.top += lane_height(lanes);
    let high: f64 = drawn.iter().map(Row::height).sum();
    panel.bottom = panel.top + high + PHASES + 8.0;
    let height = pixels(panel.bottom + scene::FOOT);
    let svg = paint(kind, (scene::WIDTH, height), |canvas| {
        scene::draw_header(canvas, TITLE, &entries)?;
        let start = facts.since().timestamp();
        let across = ticks::time(start, panel.across.1);
        panel.draw_across(canvas, &across, &scene::time_title(start))?;
        draw_phases(canvas, &panel, facts)?;
        each_row(&panel, drawn, |row, top| {
            row.fill(canvas, &panel, facts, top)
        })?;
        markers::draw(canvas, &panel, &placed, true)?;
        let lines = markers::lines(&placed);
        each_row(&panel, drawn, |row, top| {
            row.write(canvas, (&panel, lines.as_slice()), &instances, top)
        })?;
        panel.draw_frame(canvas)
    })?;
    let mut notes = notes(facts, &markers);
    let mut lives = drawn.iter().flat_map(|row| &row.lives);
    if lives.any(|life| life.stopped) {
        let note = format!(
            "{} A line ends with the last of its instances.",
            stopped::END
        );
        notes.push(note);
    }
    if all.len() > drawn.len() {
        notes.push(format!(
            "The first {MOST_ROWS} of {} services are drawn; all stand in the table of traffic.",
            all.len()
        ));
    }
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(facts, &all, &markers, &instances),
        notes,
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, height))?),
    })
}

fn each_row<'a>(
    panel: &Panel,
    rows: &[Row<'a>],
    mut draw: impl FnMut(&Row<'a>, f64) -> Result<()>,
) -> Result<()> {
    let mut top = panel.top + GAP / 2.0;
    for row in rows {
        draw(row, top)?;
        top += row.height();
    }
    Ok(())
}

impl Row<'_> {
    fn height(&self) -> f64 {
        let lanes = u32::try_from(self.lanes().len()).unwrap_or(0);
        TRAFFIC + f64::from(lanes) * LIFE + GAP
    }

    /// Returns the releases whose instances have a line, in order.
    fn lanes(&self) -> Vec<&str> {
        let mut lanes = Vec::new();
        for life in &self.lives {
            if !lanes.contains(&life.release) {
                lanes.push(life.release);
            }
        }
        lanes
    }

    /// Returns the middle of the line of a life.
    fn middle(&self, life: &Life<'_>, top: f64) -> f64 {
        let lanes = self.lanes();
        let lane = lanes.iter().position(|release| *release == life.release);
        let lane = u32::try_from(lane.unwrap_or(0)).unwrap_or(0);
        top + TRAFFIC + f64::from(lane) * LIFE + LIFE / 2.0 + 2.0
    }

    fn fill(&self, canvas: &Canvas<'_>, panel: &Panel, facts: &Facts, top: f64) -> Result<()> {
        for span in &self.spans {
            let (left, right) = (panel.x(span.from), panel.x(span.to));
            for (release, upper, lower) in parts(span, top) {
                let colour = scene::colour_of(facts, release);
                canvas.rectangle((left, upper, right, lower), colour, OPACITY)?;
                if upper > top {
                    canvas.line(&[(left, upper), (right, upper)], INK, 0.8, SOLID)?;
                }
            }
        }
        for life in &self.lives {
            let (left, right) = (panel.x(life.from), panel.x(life.to));
            let y = self.middle(life, top);
            let colour = scene::colour_of(facts, life.release);
            let place = (left, y - 5.5, right.max(left + 1.0), y + 5.5);
            canvas.rectangle(place, colour, LIFE_OPACITY)?;
            if life.stopped {
                canvas.end((right, y), GREY)?;
            }
        }
        Ok(())
    }

    fn write(
        &self,
        canvas: &Canvas<'_>,
        (panel, lines): (&Panel, &[f64]),
        instances: &[Instance],
        top: f64,
    ) -> Result<()> {
        let beside = panel.left - 8.0;
        let name = fit(self.service, NAME, panel.left - 16.0);
        let at = (beside, top + TRAFFIC / 2.0);
        canvas.text(&name, at, NAME, INK, Anchor::Right)?;
        for span in &self.spans {
            let (left, right) = (panel.x(span.from), panel.x(span.to));
            let room = right - left - 6.0;
            let stacked = parts(span, top);
            for ((release, upper, lower), (_, share)) in stacked.iter().zip(&span.shares) {
                let texts = match share {
                    100 => [format!("{release} 100 %"), (*release).to_owned()],
                    _ => [format!("{release} {share} %"), format!("{share} %")],
                };
                let high = lower - upper >= SIZE - 0.5;
                let fitting = |text: &&String| high && text_width(text, SIZE) <= room;
                if let Some(text) = texts.iter().find(fitting) {
                    let x = clear_of(lines, (left, right), text_width(text, SIZE));
                    let at = (x, f64::midpoint(*upper, *lower));
                    canvas.text(text, at, SIZE, INK, Anchor::Left)?;
                }
            }
        }
        let mut named: Vec<&str> = Vec::new();
        for life in &self.lives {
            let y = self.middle(life, top);
            if named.contains(&life.release) {
                continue;
            }
            if named.is_empty() {
                canvas.text("instances", (beside, y), SIZE, GREY, Anchor::Right)?;
            }
            named.push(life.release);
            self.write_life(canvas, (panel, lines), (life, y), instances)?;
        }
        Ok(())
    }

    /// Says beside or in the line of a release how many of its instances ran.
    fn write_life(
        &self,
        canvas: &Canvas<'_>,
        (panel, lines): (&Panel, &[f64]),
        (life, y): (&Life<'_>, f64),
        instances: &[Instance],
    ) -> Result<()> {
        let own = instances
            .iter()
            .filter(|one| one.service == self.service && one.release.as_str() == life.release);
        let text = match own.count() {
            0 => life.release.to_owned(),
            number => format!(
                "{}: {}",
                life.release,
                counted(as_count(number), "instance")
            ),
        };
        let wide = text_width(&text, SIZE);
        let (left, right) = (panel.x(life.from), panel.x(life.to));
        if wide + 8.0 <= right - left {
            let x = clear_of(lines, (left, right), wide);
            canvas.text(&text, (x, y), SIZE, INK, Anchor::Left)
        } else if right + wide + 8.0 <= panel.right {
            let x = clear_of(lines, (right + 2.0, panel.right), wide);
            canvas.text(&text, (x, y), SIZE, INK, Anchor::Left)
        } else {
            canvas.text(&text, (left - 4.0, y), SIZE, INK, Anchor::Right)
        }
    }
}

/// Returns where a label that is so wide begins within a bar: at its left edge, and where a mark's line would run
/// through it there, behind the first line that leaves it room. Where none does, it stays at the edge.
fn clear_of(lines: &[f64], (left, right): (f64, f64), wide: f64) -> f64 {
    let first = left + 4.0;
    let behind = lines.iter().filter(|line| **line > left);
    let places = [first].into_iter().chain(behind.map(|line| line + 4.0));
    let is_free = |from: &f64| {
        let crossed = |line: &f64| *line > from - 2.0 && *line < from + wide + 2.0;
        from + wide + 2.0 <= right && !lines.iter().any(crossed)
    };
    let mut free = places.filter(is_free);
    free.next().unwrap_or(first)
}

/// Returns the releases of a span with the upper and lower edge of each: the one that is deployed stands lowest.
fn parts<'a>(span: &Span<'a>, top: f64) -> Vec<(&'a str, f64, f64)> {
    let mut lower = top + TRAFFIC;
    let part = |(release, share): &(&'a str, u16)| {
        let upper = (lower - TRAFFIC * f64::from(*share) / 100.0).max(top);
        let part = (*release, upper, lower);
        lower = upper;
        part
    };
    span.shares.iter().map(part).collect()
}

/// Draws below the services when each phase was under way.
fn draw_phases(canvas: &Canvas<'_>, panel: &Panel, facts: &Facts) -> Result<()> {
    let (upper, lower) = (panel.bottom - PHASES - 2.0, panel.bottom - 2.0);
    let middle = f64::midpoint(upper, lower);
    let at = (panel.left - 8.0, middle);
    canvas.text("phase", at, SIZE, GREY, Anchor::Right)?;
    for (place, (number, phase)) in facts.state.phases.iter().enumerate() {
        let end = phase.finished.map_or(facts.until(), |(end, _)| end);
        let left = panel.x(since(facts, phase.started));
        let right = panel.x(since(facts, end)).max(left + 1.0);
        let colour = if place.is_multiple_of(2) { BAND } else { PALE };
        canvas.rectangle((left, upper, right, lower), colour, 1.0)?;
        let text = number.to_string();
        if text_width(&text, SIZE) + 3.0 <= right - left {
            let at = (f64::midpoint(left, right), middle);
            canvas.text(&text, at, SIZE, INK, Anchor::Middle)?;
        }
    }
    Ok(())
}

fn legend(facts: &Facts, rows: &[Row<'_>]) -> Vec<Entry> {
    let releases = facts.releases();
    let shown = |release: &&String| {
        let spans = rows.iter().flat_map(|row| &row.spans);
        let mut shares = spans.flat_map(|span| &span.shares);
        let lives = rows.iter().flat_map(|row| &row.lives);
        let mut lives = lives.map(|life| life.release);
        shares.any(|(one, _)| *one == release.as_str()) || lives.any(|one| one == release.as_str())
    };
    let entry = |release: &String| {
        let colour = scene::colour_of(facts, release);
        Entry::new(format!("release {release}"), colour, Sign::Bar(OPACITY))
    };
    let mut entries: Vec<Entry> = releases.iter().filter(shown).map(entry).collect();
    if rows
        .iter()
        .flat_map(|row| &row.lives)
        .any(|life| life.stopped)
    {
        entries.push(Entry::new("stopped on purpose", GREY, Sign::End));
    }
    entries
}

fn sentence(facts: &Facts, rows: &[Row<'_>], markers: &[Marker], all: &[Instance]) -> String {
    let to = &facts.started.to;
    let changes = markers.iter().filter(|one| one.sort == Sort::Traffic);
    let changes = counted(as_count(changes.count()), "time");
    let times = facts.shifts.first().zip(facts.shifts.last());
    let moved = match times {
        Some((first, last)) => format!(
            "traffic of {} was changed {changes} from {} to {} UTC",
            counted(as_count(rows.len()), "service"),
            clock(first.time),
            clock(last.time)
        ),
        None => "no traffic was moved".to_owned(),
    };
    let back = facts.rollbacks.first().map(|back| {
        let begun = clock(back.time);
        format!(", and the way back began at {begun} UTC")
    });
    let new = all.iter().filter(|one| one.release == *to).count();
    let mut stopped: BTreeMap<&str, u64> = BTreeMap::new();
    for one in all.iter().filter(|one| one.stopped) {
        *stopped.entry(one.release.as_str()).or_default() += 1;
    }
    let stopped = stopped.into_iter().map(|(release, number)| {
        let instances = counted(number, "instance");
        format!("; {instances} of {release} stopped")
    });
    format!(
        "{} of {to} started; {moved}{}{}; at the end {}.",
        counted(as_count(new), "instance"),
        back.unwrap_or_default(),
        stopped.collect::<String>(),
        live(facts)
    )
}

fn notes(facts: &Facts, markers: &[Marker]) -> Vec<String> {
    let mut notes = vec![
        "The height of a colour is the share of a service's traffic that the release had, as read \
         back where it is served; the release that is deployed stands lowest. The lines below show \
         from when to when instances of each release ran."
            .to_owned(),
    ];
    if let Some(from) = &facts.started.from {
        notes.push(format!(
            "Before the first change all traffic is drawn on {from}, which the record names as the \
             release that ran."
        ));
    }
    if facts.started.strategy == "rolling" {
        let note = "In a rolling update instances are replaced in waves: a line goes from the first \
                    to the last of them.";
        notes.push(note.to_owned());
    }
    let phases = facts.state.phases.iter();
    let phases = phases.map(|(number, phase)| format!("{number} {}", clock(phase.started)));
    let phases: Vec<String> = phases.collect();
    if !phases.is_empty() {
        notes.push(format!("Phases began (UTC): {}.", phases.join(", ")));
    }
    notes.extend(markers::note(markers));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stands_behind_a_line_that_would_run_through_it() {
        let bar = (100.0, 400.0);
        assert!((clear_of(&[], bar, 80.0) - 104.0).abs() < 0.01);
        assert!((clear_of(&[100.0], bar, 80.0) - 104.0).abs() < 0.01);
        assert!((clear_of(&[130.0], bar, 80.0) - 134.0).abs() < 0.01);
        assert!((clear_of(&[130.0, 150.0, 300.0], bar, 80.0) - 154.0).abs() < 0.01);
        let nowhere = [130.0, 190.0, 250.0, 310.0, 370.0];
        assert!((clear_of(&nowhere, bar, 80.0) - 104.0).abs() < 0.01);
    }
}
