//! Durations of the migrations.

use code_deploy_record::Direction;

use crate::Result;
use crate::chart::canvas::{Anchor, BLUE, INK, ORANGE, edge_beside, fit, paint};
use crate::chart::health::pixels;
use crate::chart::panel::Panel;
use crate::chart::raster::Raster;
use crate::chart::scene::{self, Entry, Sign};
use crate::chart::{Chart, ChartKind, ticks};
use crate::facts::{At, Facts, Migration};
use crate::format::{count, counted, duration, ratio};

const TITLE: &str = "Durations of the migrations";
/// The size of the migrations' names.
const SIZE: f64 = 10.5;
const ROW: f64 = 24.0;
const MOST_ROWS: usize = 40;

pub(super) fn draw(facts: &Facts, raster: &mut Raster) -> Result<Chart> {
    let kind = ChartKind::Migrations;
    if facts.migrations.is_empty() {
        let sentence = "No chart: no migration was carried out in this run.";
        return Ok(Chart::absent(kind, TITLE, sentence));
    }
    let all = &facts.migrations;
    let drawn = all.get(..all.len().min(MOST_ROWS)).unwrap_or(&[]);
    let names: Vec<String> = drawn.iter().map(name_of).collect();
    let left = edge_beside(names.iter().map(String::as_str), SIZE);
    let entries = legend(drawn);
    let top = scene::header_height(&entries) + 4.0;
    #[expect(clippy::cast_precision_loss, reason = "at most some dozens of rows")]
    let bottom = top + drawn.len() as f64 * ROW;
    let longest = drawn
        .iter()
        .map(|one| one.what.duration_us)
        .max()
        .unwrap_or(1);
    let (highest, across) = ticks::linear(ratio(longest, 1000) * 1.12, "");
    let panel = Panel {
        left,
        top,
        right: scene::RIGHT - 12.0,
        bottom,
        across: (0.0, highest),
        up: (0.0, 1.0),
        logarithmic: false,
    };
    let height = pixels(bottom + scene::FOOT);
    let svg = paint(kind, (scene::WIDTH, height), |canvas| {
        scene::draw_header(canvas, TITLE, &entries)?;
        panel.draw_across(canvas, &across, "duration (ms)")?;
        let mut y = panel.top + ROW / 2.0;
        for (migration, name) in drawn.iter().zip(&names) {
            let one = &migration.what;
            let name = fit(name, SIZE, left - 16.0);
            canvas.text(&name, (left - 8.0, y), SIZE, INK, Anchor::Right)?;
            let end = panel.x(ratio(one.duration_us, 1000));
            let (colour, opacity, half) = match one.direction {
                Direction::Apply => (BLUE, 0.9, 7.0),
                Direction::Undo => (ORANGE, 0.9, 4.0),
            };
            canvas.rectangle((left, y - half, end, y + half), colour, opacity)?;
            let label = duration(one.duration_us);
            canvas.text(&label, (end + 5.0, y), 10.5, INK, Anchor::Left)?;
            y += ROW;
        }
        panel.draw_frame(canvas)
    })?;
    Ok(Chart {
        kind,
        title: TITLE.to_owned(),
        sentence: sentence(all),
        notes: Vec::new(),
        picture: Some(raster.picture(kind, svg, (scene::WIDTH, height))?),
    })
}

fn name_of(migration: &At<Migration>) -> String {
    let one = &migration.what;
    format!("{}: {} {}", one.database, one.version, one.description)
}

fn legend(drawn: &[At<Migration>]) -> Vec<Entry> {
    let all = [
        (Direction::Apply, "forward", BLUE),
        (Direction::Undo, "taken back", ORANGE),
    ];
    let has = |direction| drawn.iter().any(|one| one.what.direction == direction);
    let present = all.into_iter().filter(|(direction, ..)| has(*direction));
    present
        .map(|(_, label, colour)| Entry::new(label, colour, Sign::Bar(0.9)))
        .collect()
}

fn sentence(all: &[At<Migration>]) -> String {
    let of = |direction| {
        all.iter()
            .filter(move |one| one.what.direction == direction)
    };
    let time = |direction| -> u64 { of(direction).map(|one| one.what.duration_us).sum() };
    let number = |direction| u64::try_from(of(direction).count()).unwrap_or(u64::MAX);
    let rows = all.iter().map(|one| one.what.rows).max().unwrap_or(0);
    let mut text = format!(
        "{} forward in {}, on a database of up to {} rows",
        counted(number(Direction::Apply), "migration"),
        duration(time(Direction::Apply)),
        count(rows)
    );
    if number(Direction::Undo) > 0 {
        text.push_str(&format!(
            "; {} taken back in {}",
            count(number(Direction::Undo)),
            duration(time(Direction::Undo))
        ));
    }
    text.push('.');
    text
}
