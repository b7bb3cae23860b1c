//! The service map: who calls what, and what runs of each.

use std::collections::BTreeMap;

use code_deploy_record::Component;

use crate::Result;
use crate::chart::canvas::{Canvas, DASHED, GREY, SOLID, paint};
use crate::chart::health::pixels;
use crate::chart::layers::{Layers, Line, Part, Room};
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::shapes::{self, BAR, Frame};
use crate::chart::topology::{self, Instance};
use crate::chart::{Chart, ChartKind};
use crate::facts::Facts;
use crate::format::{count, counted};

const TITLE: &str = "Service map";
/// The edges of the map.
const LEFT: f64 = 24.0;
const RIGHT: f64 = 836.0;
/// The width of the box of those who come from outside, and the most that others have.
const OUTSIDE: f64 = 84.0;
const WIDEST: f64 = 190.0;
/// What lies between two columns, where lines are slanted.
const BETWEEN: f64 = 44.0;
/// The heights of a box and of a way past one, and what lies between them.
const BOX: f64 = 60.0;
const WAY: f64 = 12.0;
const GAP: f64 = 14.0;
/// Beyond that a box has no room for its name, and a picture none on a page.
const ROOM: Room = Room {
    columns: 6,
    in_column: 8,
};
/// Names that a sentence gives; more are counted.
const NAMED: usize = 3;

/// The map: number 0 are those who come from outside, the components follow.
struct Map<'a> {
    facts: &'a Facts,
    instances: Vec<Instance>,
    layers: Layers,
    frames: BTreeMap<(usize, Part), Frame>,
    height: f64,
}

pub(super) fn draw(facts: &Facts, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Services;
    if facts.state.components.is_empty() {
        let sentence = "No chart: the inventory was not taken.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let services = facts.state.components.iter();
    let served = services.flat_map(|one| topology::shares(facts, &one.name));
    let served: Vec<&str> = served.map(|(release, _)| release.as_str()).collect();
    let entries = releases_legend(facts, |release| served.contains(&release));
    let map = Map::new(facts, scene::header_height(&entries) + 8.0);
    let height = pixels(map.height + 14.0);
    let svg = paint(kind, (scene::WIDTH, height), |canvas| {
        scene::draw_header(canvas, TITLE, &entries)?;
        map.draw(canvas)
    })?;
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(facts, &map),
        notes: notes(&map),
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, height))?),
    })
}

/// Returns the entries of a legend that give the colours of the releases that are drawn.
pub(super) fn releases_legend(facts: &Facts, is_drawn: impl Fn(&str) -> bool) -> Vec<Entry> {
    let releases = facts.releases();
    let entry = |release: &String| {
        let colour = scene::colour_of(facts, release);
        Entry::new(
            format!("release {release}"),
            colour,
            Sign::Bar(shapes::OPACITY),
        )
    };
    let drawn = releases.iter().filter(|release| is_drawn(release.as_str()));
    drawn.map(entry).collect()
}

/// Returns whom each calls, in numbers of the map.
fn calls(facts: &Facts) -> Vec<Vec<usize>> {
    let components = &facts.state.components;
    let names = components.iter().enumerate();
    let numbers: BTreeMap<&str, usize> =
        names.map(|(at, one)| (one.name.as_str(), at + 1)).collect();
    let number = |name: &str| numbers.get(name).copied();
    let outside = topology::entries(facts).into_iter().filter_map(number);
    let mut calls = vec![outside.collect::<Vec<usize>>()];
    calls.extend(components.iter().map(|one| {
        let called = one.needs.iter().filter(|need| **need != one.name);
        called
            .filter_map(|need| number(need.as_str()))
            .collect::<Vec<usize>>()
    }));
    calls
}

impl<'a> Map<'a> {
    fn new(facts: &'a Facts, top: f64) -> Self {
        let components = &facts.state.components;
        let any_service = components.iter().any(topology::is_service);
        let column = |one: &Component| match topology::is_service(one) || !any_service {
            true => 1,
            false => 2,
        };
        let mut least = vec![0];
        least.extend(components.iter().map(column));
        let mut map = Self {
            facts,
            instances: topology::instances(facts),
            layers: Layers::new(&calls(facts), &least, ROOM),
            frames: BTreeMap::new(),
            height: top,
        };
        map.place(top);
        map
    }

    /// Gives every part its place: columns of one width, each around the middle of the map.
    fn place(&mut self, top: f64) {
        let columns = &self.layers.columns;
        let further = u32::try_from(columns.len().saturating_sub(1)).unwrap_or(1);
        let further = f64::from(further.max(1));
        let room = RIGHT - LEFT - OUTSIDE - further * BETWEEN;
        let width = (room / further).min(WIDEST);
        let high = |part: &Part| match part {
            Part::Box(_) => BOX + GAP,
            Part::Way { .. } => WAY + GAP,
        };
        let heights = columns
            .iter()
            .map(|parts| parts.iter().map(high).sum::<f64>());
        let highest = heights.fold(0.0, f64::max);
        let (mut left, mut right) = (LEFT, LEFT + OUTSIDE);
        for (column, parts) in columns.iter().enumerate() {
            let own: f64 = parts.iter().map(high).sum();
            let mut y = top + (highest - own) / 2.0;
            for part in parts {
                let frame = Frame {
                    left,
                    top: y,
                    right,
                    bottom: y + high(part) - GAP,
                };
                self.frames.insert((column, *part), frame);
                y += high(part);
            }
            left = right + BETWEEN;
            right = left + width;
        }
        self.height = top + highest;
    }

    fn draw(&self, canvas: &Canvas<'_>) -> Result<()> {
        for line in &self.layers.lines {
            let dash = if line.back { DASHED } else { SOLID };
            shapes::arrow(canvas, &self.points(*line), dash)?;
        }
        for ((_, part), frame) in &self.frames {
            let Part::Box(number) = part else {
                continue;
            };
            let components = &self.facts.state.components;
            match number.checked_sub(1).and_then(|at| components.get(at)) {
                Some(one) if topology::is_service(one) => {
                    self.draw_service(canvas, *frame, one)?;
                }
                Some(one) => {
                    frame.cylinder(canvas)?;
                    let lines = [one.own_name().to_owned(), one.role.word().to_owned()];
                    frame.below_lid().write(canvas, &lines, 10.0)?;
                }
                None => {
                    frame.outline(canvas, GREY, DASHED)?;
                    let lines = ["clients", "outside"].map(str::to_owned);
                    frame.write(canvas, &lines, 10.0)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the points of a line from who calls to what is called.
    fn points(&self, line: Line) -> Vec<(f64, f64)> {
        let passed = self.layers.passes(line);
        let last = passed.len().saturating_sub(1);
        let mut points = Vec::new();
        for (place, at) in passed.iter().enumerate() {
            let Some(frame) = self.frames.get(at) else {
                continue;
            };
            if place > 0 {
                points.push(frame.entry());
            }
            if place < last {
                points.push(frame.exit());
            }
        }
        if line.back {
            points.reverse();
        }
        points
    }

    fn draw_service(&self, canvas: &Canvas<'_>, frame: Frame, one: &Component) -> Result<()> {
        let shares = topology::shares(self.facts, &one.name);
        let bars = shares.iter().map(|(release, share)| {
            let colour = scene::colour_of(self.facts, release.as_str());
            (f64::from(share.unwrap_or(100)), colour)
        });
        frame.bar(canvas, &bars.collect::<Vec<_>>())?;
        frame.outline(canvas, GREY, SOLID)?;
        let run = |release: &str| {
            let own = self.instances.iter().filter(|instance| {
                instance.service == one.name && instance.release.as_str() == release
            });
            own.filter(|instance| !instance.stopped).count()
        };
        let mut lines = vec![one.name.clone()];
        match shares.as_slice() {
            [] => lines.push("no traffic yet".to_owned()),
            [(release, _)] => {
                let release = release.as_str();
                let instances = match run(release) {
                    0 => format!("{} wanted", count(u64::from(one.replicas))),
                    number => counted(as_count(number), "instance"),
                };
                lines.extend([release.to_owned(), instances]);
            }
            several => lines.extend(several.iter().take(3).map(|(release, share)| {
                let share = share.unwrap_or(0);
                let run = run(release.as_str());
                format!("{release} {share} %, {run} run")
            })),
        }
        frame.write(canvas, &lines, BAR + 7.0)
    }
}

pub(super) fn as_count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Joins the first names of a list; of more it says how many.
pub(super) fn some_of(names: &[&str]) -> String {
    let first: Vec<&str> = names.iter().take(NAMED).copied().collect();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Says which release has all traffic of how many services, and of how many traffic is split.
pub(super) fn live(facts: &Facts) -> String {
    let services = facts.state.components.iter();
    let services = services.filter(|one| topology::is_service(one));
    let (mut whole, mut split) = (BTreeMap::<&str, u64>::new(), 0_u64);
    for service in services.clone() {
        match topology::shares(facts, &service.name).as_slice() {
            [(release, Some(_))] => *whole.entry(release.as_str()).or_default() += 1,
            [_, _, ..] => split += 1,
            _ => {}
        }
    }
    let all = as_count(services.count());
    let said = |(release, number): (&str, u64)| {
        format!(
            "{release} has all traffic of {} of {}",
            count(number),
            counted(all, "service")
        )
    };
    let mut texts: Vec<String> = whole.into_iter().map(said).collect();
    if split > 0 {
        texts.push(format!("traffic of {} is split", counted(split, "service")));
    }
    match (texts.is_empty(), &facts.started.from) {
        (false, _) => texts.join("; "),
        (true, Some(from)) => format!("{from} ran before, and this run moved no traffic"),
        (true, None) => "no release has traffic yet".to_owned(),
    }
}

fn sentence(facts: &Facts, map: &Map<'_>) -> String {
    let components = &facts.state.components;
    let services = components.iter().filter(|one| topology::is_service(one));
    let services = services.count();
    let lines = calls(facts);
    let lines: usize = lines.iter().skip(1).map(Vec::len).sum();
    let left_out = match map.layers.left_out.len() {
        0 => String::new(),
        number => format!(", {} of them not drawn", count(as_count(number))),
    };
    let stores = as_count(components.len() - services);
    let word = if stores == 1 { "store" } else { "stores" };
    format!(
        "{} and {} {word} of data{left_out}, with {} between them; clients come in at {}; {}.",
        counted(as_count(services), "service"),
        count(stores),
        counted(as_count(lines), "connection"),
        match topology::entries(facts) {
            none if none.is_empty() => "no service".to_owned(),
            names => some_of(&names),
        },
        live(facts)
    )
}

fn notes(map: &Map<'_>) -> Vec<String> {
    let mut notes = vec![
        "Arrows lead from who calls to what is called or written to, as the inventory has it; \
         cylinders keep data or messages."
            .to_owned(),
        "The bar in a box shows the releases that serve it, by their share of traffic as read back \
         last; instances are those that the record tells of and no step has stopped."
            .to_owned(),
    ];
    if map.layers.lines.iter().any(|line| line.back) {
        let note = "A broken arrow leads back: components that call each other in a circle.";
        notes.push(note.to_owned());
    }
    let components = &map.facts.state.components;
    let left_out = map.layers.left_out.iter();
    let left_out = left_out.filter_map(|number| components.get(number.checked_sub(1)?));
    let left_out: Vec<&str> = left_out.map(|one| one.name.as_str()).collect();
    if !left_out.is_empty() {
        notes.push(format!(
            "Not drawn for want of room: {} ({}). All stand in the table of components of the deployment plan.",
            counted(as_count(left_out.len()), "component"),
            some_of(&left_out)
        ));
    }
    notes
}
