//! Drawing in pixels, by plotters' SVG backend.
//!
//! plotters takes whole pixels. The drawing is made four times as large and shown at its real
//! size, so that lines are placed to a quarter of a pixel.

use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use crate::chart::ChartKind;
use crate::{Error, Result};

/// The font, compiled in, so that every machine draws the same.
pub(super) const FONT: &[u8] = include_bytes!("../../../templates/fonts/DejaVuSans.ttf");

/// The font's name.
pub(super) const FONT_NAME: &str = "DejaVu Sans";

/// How much larger than shown the drawing is made.
const SCALE: f64 = 4.0;

/// plotters writes fonts smaller by this factor than it is asked for.
const FONT_FACTOR: f64 = 1.24;

/// Text and lines that are not data.
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
/// Marks and second-rank text; its contrast on white is above 4.5.
pub(super) const GREY: RGBColor = RGBColor(95, 95, 95);
/// Wide lines under others.
pub(super) const BAND: RGBColor = RGBColor(190, 190, 190);
/// Grid lines.
pub(super) const PALE: RGBColor = RGBColor(225, 225, 225);

/// Okabe and Ito's colours, which colour-blind readers can tell apart.
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const VERMILLION: RGBColor = RGBColor(213, 94, 0);
pub(super) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(super) const PURPLE: RGBColor = RGBColor(204, 121, 167);
pub(super) const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub(super) const SKY: RGBColor = RGBColor(86, 180, 233);

/// How a line is broken: lengths of the drawn and the empty parts in pixels; solid when empty.
pub(super) type Dash = &'static [f64];
pub(super) const SOLID: Dash = &[];
pub(super) const DASHED: Dash = &[6.0, 3.0];
pub(super) const DOTTED: Dash = &[1.5, 2.5];

/// How far apart the lines of a hatched band are, in pixels.
const HATCH: f64 = 6.0;

/// Where text stands in relation to its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Middle,
    Right,
}

pub(super) struct Canvas<'a> {
    kind: ChartKind,
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

fn px(value: f64) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a drawing is a few thousand pixels wide"
    )]
    {
        (value * SCALE).round().clamp(-1e6, 1e6) as i32
    }
}

fn stroke(width: f64) -> u32 {
    u32::try_from(px(width)).unwrap_or(1).max(1)
}

fn font_is_ready() -> bool {
    static READY: OnceLock<bool> = OnceLock::new();
    *READY.get_or_init(|| register_font(FONT_NAME, FontStyle::Normal, FONT).is_ok())
}

/// plotters measures with the height of a line where it draws with the size of the letters.
const MEASURE_FACTOR: f64 = 1.1641;

/// Returns how wide text is drawn, in pixels.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    if !font_is_ready() {
        return 0.0;
    }
    let font = FontDesc::from((FONT_NAME, size * SCALE * MEASURE_FACTOR));
    font.box_size(text)
        .map_or(0.0, |(width, _)| f64::from(width) / SCALE)
}

/// Shortens text in its middle until it is at most `room` wide: names differ at both ends.
pub(super) fn fit(text: &str, size: f64, room: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().collect();
    let shortened = |left_out: usize| {
        let kept = characters.len() - left_out;
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let head = characters.iter().take(head);
        let tail = characters.iter().skip(characters.len() - tail);
        head.chain(['…'].iter()).chain(tail).collect::<String>()
    };
    let fitting = (1..characters.len()).map(shortened);
    let mut fitting = fitting.filter(|short| text_width(short, size) <= room);
    fitting.next().unwrap_or_default()
}

/// Returns the left edge of the data beside labels: as far as the longest one needs, within limits.
pub(super) fn edge_beside<'a>(labels: impl Iterator<Item = &'a str>, size: f64) -> f64 {
    let longest = labels
        .map(|label| text_width(label, size))
        .fold(0.0, f64::max);
    (longest + 22.0).clamp(74.0, 330.0)
}

/// Draws with `paint` on a white ground; returns the SVG.
pub(super) fn paint(
    kind: ChartKind,
    (width, height): (u32, u32),
    paint: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<String> {
    if !font_is_ready() {
        return Err(failed(kind, "the font that is compiled in cannot be read"));
    }
    let scaled = |length: u32| u32::try_from(px(f64::from(length))).unwrap_or(length);
    let (wide, high) = (scaled(width), scaled(height));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (wide, high)).into_drawing_area();
        let canvas = Canvas { kind, area };
        canvas
            .area
            .fill(&WHITE)
            .map_err(|error| failed(kind, &error.to_string()))?;
        paint(&canvas)?;
        canvas
            .area
            .present()
            .map_err(|error| failed(kind, &error.to_string()))?;
    }
    let drawn = format!("<svg width=\"{wide}\" height=\"{high}\"");
    let shown = format!("<svg width=\"{width}\" height=\"{height}\"");
    if !svg.starts_with(&drawn) {
        return Err(failed(kind, "the drawing does not begin with its size"));
    }
    Ok(svg.replacen(&drawn, &shown, 1))
}

fn failed(kind: ChartKind, what: &str) -> Error {
    Error::Drawing {
        chart: kind.name().to_owned(),
        what: what.to_owned(),
    }
}

impl Canvas<'_> {
    fn put(&self, result: std::result::Result<(), impl std::fmt::Display>) -> Result<()> {
        result.map_err(|error| failed(self.kind, &error.to_string()))
    }

    pub(super) fn line(
        &self,
        points: &[(f64, f64)],
        colour: RGBColor,
        width: f64,
        dash: Dash,
    ) -> Result<()> {
        let style = ShapeStyle {
            color: colour.to_rgba(),
            filled: false,
            stroke_width: stroke(width),
        };
        let draw = |part: &[(f64, f64)]| {
            let pixels: Vec<_> = part.iter().map(|(x, y)| (px(*x), px(*y))).collect();
            self.put(self.area.draw(&PathElement::new(pixels, style)))
        };
        if dash.is_empty() {
            return draw(points);
        }
        dashes(points, dash).iter().try_for_each(|part| draw(part))
    }

    /// Draws a rectangle; `opacity` from 0 to 1.
    pub(super) fn rectangle(
        &self,
        (left, top, right, bottom): (f64, f64, f64, f64),
        colour: RGBColor,
        opacity: f64,
    ) -> Result<()> {
        let style = colour.mix(opacity).filled();
        let corners = [(px(left), px(top)), (px(right), px(bottom))];
        self.put(self.area.draw(&Rectangle::new(corners, style)))
    }

    /// Hatches a rectangle with slanting lines, which tell it from what is shaded without colour.
    pub(super) fn hatch(
        &self,
        (left, top, right, bottom): (f64, f64, f64, f64),
        colour: RGBColor,
    ) -> Result<()> {
        let high = bottom - top;
        let mut start = left - high + HATCH / 2.0;
        while start < right {
            let (from, to) = (start.max(left), (start + high).min(right));
            let place = |x: f64| (x, bottom - (x - start));
            if from < to {
                self.line(&[place(from), place(to)], colour, 0.6, SOLID)?;
            }
            start += HATCH;
        }
        Ok(())
    }

    /// Makes the ground white again, for text that stands on it.
    pub(super) fn clear(&self, (left, top, right, bottom): (f64, f64, f64, f64)) -> Result<()> {
        self.rectangle((left, top, right, bottom), WHITE, 1.0)
    }

    /// Draws a filled shape with these corners.
    pub(super) fn shape(&self, corners: &[(f64, f64)], colour: RGBColor) -> Result<()> {
        let pixels: Vec<_> = corners.iter().map(|(x, y)| (px(*x), px(*y))).collect();
        self.put(self.area.draw(&Polygon::new(pixels, colour.filled())))
    }

    pub(super) fn dot(&self, at: (f64, f64), radius: f64, colour: RGBColor) -> Result<()> {
        let place = (px(at.0), px(at.1));
        self.put(
            self.area
                .draw(&Circle::new(place, px(radius), colour.filled())),
        )
    }

    /// Draws an open circle.
    pub(super) fn ring(&self, at: (f64, f64), radius: f64, colour: RGBColor) -> Result<()> {
        let place = (px(at.0), px(at.1));
        let style = ShapeStyle {
            color: colour.to_rgba(),
            filled: false,
            stroke_width: stroke(1.2),
        };
        self.put(self.area.draw(&Circle::new(place, px(radius), style)))
    }

    /// Draws a cross, which tells failure without colour.
    pub(super) fn cross(&self, (x, y): (f64, f64), half: f64, colour: RGBColor) -> Result<()> {
        self.line(
            &[(x - half, y - half), (x + half, y + half)],
            colour,
            1.8,
            SOLID,
        )?;
        self.line(
            &[(x - half, y + half), (x + half, y - half)],
            colour,
            1.8,
            SOLID,
        )
    }

    /// Draws a short upright line: here something ends as it was meant to.
    pub(super) fn end(&self, (x, y): (f64, f64), colour: RGBColor) -> Result<()> {
        self.line(&[(x, y - 7.0), (x, y + 7.0)], colour, 2.4, SOLID)
    }

    pub(super) fn text(
        &self,
        text: &str,
        (x, y): (f64, f64),
        size: f64,
        colour: RGBColor,
        anchor: Anchor,
    ) -> Result<()> {
        self.write(text, (x, y), colour, anchor, FontDesc::from(font(size)))
    }

    /// Writes upwards, around its middle.
    pub(super) fn text_upwards(&self, text: &str, at: (f64, f64), size: f64) -> Result<()> {
        let font = FontDesc::from(font(size)).transform(FontTransform::Rotate270);
        self.write(text, at, INK, Anchor::Middle, font)
    }

    fn write(
        &self,
        text: &str,
        (x, y): (f64, f64),
        colour: RGBColor,
        anchor: Anchor,
        font: FontDesc<'_>,
    ) -> Result<()> {
        let side = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let style = TextStyle::from(font)
            .color(&colour)
            .pos(Pos::new(side, VPos::Center));
        let element = Text::new(text.to_owned(), (px(x), px(y)), style);
        self.put(self.area.draw(&element))
    }
}

fn font(size: f64) -> (&'static str, f64) {
    (FONT_NAME, size * SCALE * FONT_FACTOR)
}

/// Parts a line into its dashes.
fn dashes(points: &[(f64, f64)], dash: Dash) -> Vec<Vec<(f64, f64)>> {
    let mut parts = Vec::new();
    let Some(first) = points.first() else {
        return parts;
    };
    let mut part = vec![*first];
    let (mut place, mut left) = (0, dash.first().copied().unwrap_or(1.0));
    for pair in points.windows(2) {
        let [(mut x, mut y), to] = *pair else {
            continue;
        };
        loop {
            let (dx, dy) = (to.0 - x, to.1 - y);
            let length = dx.hypot(dy);
            if length <= left {
                left -= length;
                if place % 2 == 0 {
                    part.push(to);
                }
                break;
            }
            (x, y) = (x + dx / length * left, y + dy / length * left);
            if place % 2 == 0 {
                part.push((x, y));
                parts.push(std::mem::take(&mut part));
            } else {
                part = vec![(x, y)];
            }
            place += 1;
            left = dash
                .get(place % dash.len())
                .copied()
                .unwrap_or(1.0)
                .max(0.5);
        }
    }
    if part.len() > 1 {
        parts.push(part);
    }
    parts
}
