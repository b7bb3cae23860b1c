//! Boxes and arrows, of which maps are made.

use std::f64::consts::{PI, TAU};

use plotters::style::RGBColor;

use crate::Result;
use crate::chart::canvas::{Anchor, Canvas, Dash, GREY, INK, SOLID, fit};

/// How wide the bar at the left of a box is that shows its releases.
pub(super) const BAR: f64 = 7.0;
/// How strongly the colour of a release is laid on.
pub(super) const OPACITY: f64 = 0.9;
/// The height of a line of text in a box.
pub(super) const LINE: f64 = 14.0;

/// The size of a box's name.
const NAME: f64 = 11.5;
/// The size of what stands below the name.
const SMALL: f64 = 10.0;
/// The length of an arrow's head, and half its width.
const HEAD: (f64, f64) = (7.0, 3.2);
/// Half the height of the ellipses of a cylinder.
const CAP: f64 = 5.0;

/// A rectangle of the drawing, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Frame {
    /// Returns where arrows begin that lead to the right.
    pub(super) fn exit(self) -> (f64, f64) {
        (self.right, f64::midpoint(self.top, self.bottom))
    }

    /// Returns where arrows end that come from the left.
    pub(super) fn entry(self) -> (f64, f64) {
        (self.left, f64::midpoint(self.top, self.bottom))
    }

    pub(super) fn outline(self, canvas: &Canvas<'_>, colour: RGBColor, dash: Dash) -> Result<()> {
        let corners = [
            (self.left, self.top),
            (self.right, self.top),
            (self.right, self.bottom),
            (self.left, self.bottom),
            (self.left, self.top),
        ];
        canvas.line(&corners, colour, 1.2, dash)
    }

    /// Returns what of a cylinder is below its lid, where there is room for words.
    pub(super) fn below_lid(self) -> Self {
        Self {
            top: self.top + 2.0 * CAP,
            ..self
        }
    }

    /// Draws the sign of a store of data: a cylinder.
    pub(super) fn cylinder(self, canvas: &Canvas<'_>) -> Result<()> {
        let middle = f64::midpoint(self.left, self.right);
        let half = (self.right - self.left) / 2.0;
        let arc = |centre: f64, from: f64, to: f64| {
            let angles = (0..=24_u32).map(move |step| from + (to - from) * f64::from(step) / 24.0);
            let points =
                angles.map(move |angle| (middle + half * angle.cos(), centre + CAP * angle.sin()));
            points.collect::<Vec<_>>()
        };
        let (upper, lower) = (self.top + CAP, self.bottom - CAP);
        canvas.line(&arc(upper, 0.0, TAU), GREY, 1.2, SOLID)?;
        let mut body = vec![(self.left, upper)];
        body.extend(arc(lower, PI, 0.0));
        body.push((self.right, upper));
        canvas.line(&body, GREY, 1.2, SOLID)
    }

    /// Draws a bar at the left whose parts are the shares of releases, from the bottom to the top.
    pub(super) fn bar(self, canvas: &Canvas<'_>, shares: &[(f64, RGBColor)]) -> Result<()> {
        let whole: f64 = shares.iter().map(|(share, _)| share).sum();
        let mut bottom = self.bottom;
        for (share, colour) in shares.iter().filter(|_| whole > 0.0) {
            let top = bottom - (self.bottom - self.top) * share / whole;
            let part = (self.left, top, self.left + BAR, bottom);
            canvas.rectangle(part, *colour, OPACITY)?;
            bottom = top;
        }
        Ok(())
    }

    /// Writes lines around the middle, the first as a name; `inset` is kept free at the left.
    pub(super) fn write(self, canvas: &Canvas<'_>, lines: &[String], inset: f64) -> Result<()> {
        let above = u32::try_from(lines.len().saturating_sub(1)).unwrap_or(0);
        let middle = f64::midpoint(self.top, self.bottom);
        let mut y = middle - f64::from(above) * LINE / 2.0;
        let left = self.left + inset;
        for (place, line) in lines.iter().enumerate() {
            let size = if place == 0 { NAME } else { SMALL };
            let text = fit(line, size, self.right - left - 4.0);
            if !text.is_empty() {
                canvas.text(&text, (left, y), size, INK, Anchor::Left)?;
            }
            y += LINE;
        }
        Ok(())
    }
}

/// Draws a line with a head at its end.
pub(super) fn arrow(canvas: &Canvas<'_>, points: &[(f64, f64)], dash: Dash) -> Result<()> {
    let [.., before, tip] = points else {
        return Ok(());
    };
    let (across, down) = (tip.0 - before.0, tip.1 - before.1);
    let length = across.hypot(down);
    if length < HEAD.0 {
        return canvas.line(points, GREY, 1.2, dash);
    }
    let (x, y) = (across / length, down / length);
    let base = (tip.0 - x * HEAD.0, tip.1 - y * HEAD.0);
    let corners = [
        *tip,
        (base.0 - y * HEAD.1, base.1 + x * HEAD.1),
        (base.0 + y * HEAD.1, base.1 - x * HEAD.1),
    ];
    let mut line = points.to_vec();
    if let Some(last) = line.last_mut() {
        *last = base;
    }
    canvas.line(&line, GREY, 1.2, dash)?;
    canvas.shape(&corners, GREY)
}
