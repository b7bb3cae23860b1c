//! The network map: from clients outside to what listens where, as far as the record tells it.

use std::collections::BTreeMap;

use code_deploy_record::Component;

use crate::Result;
use crate::chart::canvas::{Anchor, Canvas, DASHED, GREY, INK, PALE, SOLID, fit, paint};
use crate::chart::health::pixels;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::services::{as_count, releases_legend, some_of};
use crate::chart::shapes::{self, BAR, Frame, LINE, OPACITY};
use crate::chart::topology::{self, Instance};
use crate::chart::{Chart, ChartKind};
use crate::facts::Facts;
use crate::format::{count, counted};

const TITLE: &str = "Network map";
/// Left and right edge of each column.
const OUTSIDE: (f64, f64) = (24.0, 88.0);
const FRONT: (f64, f64) = (108.0, 220.0);
const SERVICE: (f64, f64) = (240.0, 364.0);
const INSTANCES: (f64, f64) = (384.0, 698.0);
const STORE: (f64, f64) = (722.0, 838.0);
/// The height of a column's heading, of a box, and what lies between two rows.
const HEADING: f64 = 22.0;
const BOX: f64 = 56.0;
const GAP: f64 = 14.0;
const STORE_HIGH: f64 = 50.0;
/// The size of the text of instances.
const SIZE: f64 = 10.0;
/// The room for an instance's address.
const ADDRESS: f64 = 104.0;
/// Services and instances of each that are drawn; the caption says what is left out.
const MOST_SERVICES: usize = 10;
const MOST_INSTANCES: usize = 6;

/// A service with what runs of it.
struct Row<'a> {
    component: &'a Component,
    address: Option<&'a str>,
    /// Those that are drawn, what runs first.
    instances: Vec<Instance>,
    more: usize,
    frame: Frame,
}

struct Map<'a> {
    facts: &'a Facts,
    rows: Vec<Row<'a>>,
    stores: BTreeMap<&'a str, (&'a Component, Frame)>,
    bottom: f64,
}

pub(super) fn draw(facts: &Facts, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Network;
    let all = topology::instances(facts);
    let is_drawn = |release: &str| all.iter().any(|one| one.release.as_str() == release);
    let mut entries = releases_legend(facts, is_drawn);
    if all.iter().any(|one| one.stopped) {
        entries.push(Entry::new("stopped", GREY, Sign::End));
    }
    let map = Map::new(facts, &all, scene::header_height(&entries) + HEADING);
    if map.rows.is_empty() {
        let sentence = "No chart: the record holds no service of an inventory.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let height = pixels(map.bottom + 8.0);
    let svg = paint(kind, (scene::WIDTH, height), |canvas| {
        scene::draw_header(canvas, TITLE, &entries)?;
        map.draw(canvas, scene::header_height(&entries) + 8.0)
    })?;
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(facts, &all),
        notes: notes(facts, &map),
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, height))?),
    })
}

fn is_of(instance: &Instance, service: &str) -> bool {
    instance.service == service
}

impl<'a> Map<'a> {
    fn new(facts: &'a Facts, all: &[Instance], top: f64) -> Self {
        let addresses = topology::addresses(facts);
        let components = facts.state.components.iter();
        let (mut services, stores): (Vec<&Component>, Vec<&Component>) =
            components.partition(|one| topology::is_service(one));
        // Where users come in stands above what they do not see.
        let entries = topology::entries(facts);
        services.sort_by_key(|one| !entries.contains(&one.name.as_str()));
        let mut rows = Vec::new();
        let mut y = top + 10.0;
        for component in services.into_iter().take(MOST_SERVICES) {
            let own = all.iter().filter(|one| is_of(one, &component.name));
            let mut own: Vec<Instance> = own.cloned().collect();
            let order = |one: &Instance| (one.stopped, one.release != facts.started.to);
            own.sort_by_key(order);
            let more = own.len().saturating_sub(MOST_INSTANCES);
            own.truncate(MOST_INSTANCES);
            let lines = u32::try_from(own.len() + usize::from(more > 0)).unwrap_or(0);
            let high = (f64::from(lines) * LINE + 10.0).max(BOX);
            let frame = Frame {
                left: SERVICE.0,
                top: y,
                right: INSTANCES.1,
                bottom: y + high,
            };
            rows.push(Row {
                component,
                address: addresses.get(component.name.as_str()).copied(),
                instances: own,
                more,
                frame,
            });
            y += high + GAP;
        }
        let room = y - top - 10.0 - GAP;
        let stores = place_stores(&rows, stores, (top + 10.0, room));
        let lowest = stores.values().map(|(_, frame)| frame.bottom);
        Self {
            facts,
            bottom: lowest.fold(y - GAP, f64::max) + GAP,
            rows,
            stores,
        }
    }

    fn draw(&self, canvas: &Canvas<'_>, top: f64) -> Result<()> {
        let headings = [
            (OUTSIDE, "outside"),
            (SERVICE, "address of the service"),
            (INSTANCES, "instances and where they listen"),
            (STORE, "data"),
        ];
        let front = self.rows.iter().any(|row| self.front(row).is_some());
        let front = front.then_some((FRONT, "front"));
        for ((left, _), text) in headings.into_iter().chain(front) {
            canvas.text(text, (left, top), SIZE, GREY, Anchor::Left)?;
        }
        for row in &self.rows {
            row.draw(canvas, self.facts)?;
            for need in &row.component.needs {
                if let Some((_, store)) = self.stores.get(need.as_str()) {
                    let from = (INSTANCES.1, row.frame.exit().1);
                    shapes::arrow(canvas, &[from, store.entry()], SOLID)?;
                }
            }
        }
        for (component, frame) in self.stores.values() {
            frame.cylinder(canvas)?;
            let lines = [
                component.own_name().to_owned(),
                component.role.word().to_owned(),
            ];
            frame.below_lid().write(canvas, &lines, 7.0)?;
        }
        self.draw_ways_in(canvas)
    }

    /// Returns scheme and host at which the outside client asks a service.
    fn asked(&self, row: &Row<'_>) -> Option<(&str, &str)> {
        let (service, url) = topology::asked(self.facts)?;
        (service == row.component.name).then(|| topology::parts_of(url))
    }

    /// Returns scheme and host of what stands in front of a service; nothing where clients ask the service at its own
    /// address, which its box has already.
    fn front(&self, row: &Row<'_>) -> Option<(&str, &str)> {
        let asked = self.asked(row);
        asked.filter(|(_, host)| row.address != Some(*host))
    }

    /// Draws how clients come in: through the front that the outside client asked, or at a service's own address.
    fn draw_ways_in(&self, canvas: &Canvas<'_>) -> Result<()> {
        let entries = topology::entries(self.facts);
        let entered = |row: &&Row<'_>| entries.contains(&row.component.name.as_str());
        let rows: Vec<&Row<'_>> = self.rows.iter().filter(entered).collect();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let outside = Frame {
            left: OUTSIDE.0,
            top: first.frame.entry().1 - BOX / 2.0,
            right: OUTSIDE.1,
            bottom: last.frame.entry().1 + BOX / 2.0,
        };
        outside.outline(canvas, GREY, DASHED)?;
        let lines = ["clients", "outside"].map(str::to_owned);
        outside.write(canvas, &lines, 8.0)?;
        for row in rows {
            let middle = row.frame.entry().1;
            let (from, to) = ((OUTSIDE.1, middle), (SERVICE.0, middle));
            let Some((scheme, host)) = self.front(row) else {
                if let Some((scheme, _)) = self.asked(row) {
                    let at = (f64::midpoint(from.0, to.0), middle - 8.0);
                    canvas.text(scheme, at, SIZE, GREY, Anchor::Middle)?;
                }
                shapes::arrow(canvas, &[from, to], SOLID)?;
                continue;
            };
            let front = Frame {
                left: FRONT.0,
                top: middle - BOX / 2.0,
                right: FRONT.1,
                bottom: middle + BOX / 2.0,
            };
            front.outline(canvas, GREY, SOLID)?;
            front.write(canvas, &[scheme.to_owned(), host.to_owned()], 8.0)?;
            shapes::arrow(canvas, &[from, front.entry()], SOLID)?;
            shapes::arrow(canvas, &[front.exit(), to], SOLID)?;
        }
        Ok(())
    }
}

/// Gives stores their places: each beside the first service that needs it, as far as there is room.
fn place_stores<'a>(
    rows: &[Row<'a>],
    stores: Vec<&'a Component>,
    (top, room): (f64, f64),
) -> BTreeMap<&'a str, (&'a Component, Frame)> {
    let beside = |store: &Component| {
        let needs = |row: &&Row<'a>| row.component.needs.contains(&store.name);
        let row = rows.iter().find(needs);
        row.map_or(top + room, |row| row.frame.top)
    };
    let mut wanted: Vec<(f64, &Component)> =
        stores.into_iter().map(|one| (beside(one), one)).collect();
    wanted.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut placed = BTreeMap::new();
    let mut free = top;
    for (y, store) in wanted.into_iter().take(MOST_SERVICES) {
        let begin = y.min(top + room - STORE_HIGH).max(free);
        let frame = Frame {
            left: STORE.0,
            top: begin,
            right: STORE.1,
            bottom: begin + STORE_HIGH,
        };
        placed.insert(store.name.as_str(), (store, frame));
        free = frame.bottom + GAP;
    }
    placed
}

impl Row<'_> {
    fn draw(&self, canvas: &Canvas<'_>, facts: &Facts) -> Result<()> {
        let middle = self.frame.entry().1;
        let own = Frame {
            top: middle - BOX / 2.0,
            right: SERVICE.1,
            bottom: middle + BOX / 2.0,
            ..self.frame
        };
        own.outline(canvas, GREY, SOLID)?;
        let address = self.address.unwrap_or("no address yet");
        let mut lines = vec![self.component.name.clone(), address.to_owned()];
        let ports = self.component.ports.iter().map(u16::to_string);
        let ports: Vec<String> = ports.collect();
        if !ports.is_empty() {
            let word = if ports.len() == 1 { "port" } else { "ports" };
            lines.push(format!("{word} {} inside", ports.join(", ")));
        }
        own.write(canvas, &lines, 8.0)?;
        let around = Frame {
            left: INSTANCES.0,
            ..self.frame
        };
        around.outline(canvas, PALE, SOLID)?;
        if self.instances.is_empty() {
            let at = (INSTANCES.0 + 8.0, middle);
            return canvas.text(
                "none that the record tells of",
                at,
                SIZE,
                GREY,
                Anchor::Left,
            );
        }
        shapes::arrow(canvas, &[own.exit(), around.entry()], SOLID)?;
        let drawn = self.instances.len() + usize::from(self.more > 0);
        let above = u32::try_from(drawn.saturating_sub(1)).unwrap_or(0);
        let mut y = middle - f64::from(above) * LINE / 2.0;
        for instance in &self.instances {
            draw_instance(canvas, facts, y, instance)?;
            y += LINE;
        }
        if self.more > 0 {
            let text = format!("and {} more", count(as_count(self.more)));
            let at = (INSTANCES.0 + 20.0, y);
            canvas.text(&text, at, SIZE, INK, Anchor::Left)?;
        }
        Ok(())
    }
}

fn draw_instance(canvas: &Canvas<'_>, facts: &Facts, y: f64, one: &Instance) -> Result<()> {
    let left = INSTANCES.0 + 6.0;
    let colour = scene::colour_of(facts, one.release.as_str());
    // A line instead of a bar, and a word: no colour alone tells that it was stopped.
    if one.stopped {
        let x = left + BAR / 2.0;
        canvas.line(&[(x, y - 5.0), (x, y + 5.0)], colour, 1.8, SOLID)?;
    } else {
        canvas.rectangle((left, y - 5.0, left + BAR, y + 5.0), colour, OPACITY)?;
    }
    let mut name = one.name.clone();
    if !name.contains(one.release.as_str()) {
        name = format!("{name} ({})", one.release);
    }
    let place = match (&one.address, one.stopped) {
        (_, true) => "stopped",
        (Some(address), false) => address.as_str(),
        (None, false) => "not recorded",
    };
    let right = INSTANCES.1 - 6.0;
    let place = fit(place, SIZE, ADDRESS);
    canvas.text(&place, (right, y), SIZE, INK, Anchor::Right)?;
    let from = left + BAR + 6.0;
    let name = fit(&name, SIZE, right - ADDRESS - from);
    canvas.text(&name, (from, y), SIZE, INK, Anchor::Left)
}

fn sentence(facts: &Facts, all: &[Instance]) -> String {
    let components = facts.state.components.iter();
    let services = components.filter(|one| topology::is_service(one));
    let asked = match topology::asked(facts) {
        Some((service, url)) => format!("clients outside ask {service} at {url}"),
        None => "the record tells of no client outside".to_owned(),
    };
    let mut run: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for instance in all {
        let (running, stopped) = run.entry(instance.release.as_str()).or_default();
        match instance.stopped {
            true => *stopped += 1,
            false => *running += 1,
        }
    }
    let run = run.into_iter().map(|(release, (running, stopped))| {
        let run = counted(running, "instance");
        match stopped {
            0 => format!("{run} of {release}"),
            _ => format!("{run} of {release} ({} stopped)", count(stopped)),
        }
    });
    let run: Vec<String> = run.collect();
    let run = match run.is_empty() {
        true => "the record tells of no instance".to_owned(),
        false => format!("what runs: {}", run.join(", ")),
    };
    let known = as_count(topology::addresses(facts).len());
    format!(
        "{}, {} of them with a known address; {asked}; {run}.",
        counted(as_count(services.count()), "service"),
        count(known)
    )
}

fn notes(facts: &Facts, map: &Map<'_>) -> Vec<String> {
    let mut notes = vec![
        "From left to right: where clients come in, the address of each service behind which \
         traffic is split, and the instances with their own addresses, as the record tells them. \
         Services ask each other at the same addresses; who asks whom is in the service map."
            .to_owned(),
    ];
    let mut drawn = map.rows.iter().flat_map(|row| &row.instances);
    if drawn.any(|one| one.address.is_none() && !one.stopped) {
        let note = "`not recorded` stands where the record has no address of an instance, such as \
                    one that a wave or the platform started.";
        notes.push(note.to_owned());
    }
    let components = facts.state.components.iter();
    let left_out = components.filter(|one| {
        let name = one.name.as_str();
        let in_row = map.rows.iter().any(|row| row.component.name == name);
        !in_row && !map.stores.contains_key(name)
    });
    let left_out: Vec<&str> = left_out.map(|one| one.name.as_str()).collect();
    if !left_out.is_empty() {
        notes.push(format!(
            "Not drawn for want of room: {} ({}). All stand in the tables of the inventory in the deployment plan.",
            counted(as_count(left_out.len()), "component"),
            some_of(&left_out)
        ));
    }
    let more: usize = map.rows.iter().map(|row| row.more).sum();
    if more > 0 {
        let more = counted(as_count(more), "instance");
        notes.push(format!(
            "Of each service the first {MOST_INSTANCES} instances are drawn, and {more} not; all stand in the tables \
             of the inventory and of the release."
        ));
    }
    notes
}
