//! A rectangle with two axes.

use crate::Result;
use crate::chart::canvas::{Anchor, Canvas, GREY, INK, PALE, SOLID};
use crate::chart::ticks::Tick;

/// A rectangle of the drawing in pixels, with the values at its edges.
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    pub(super) across: (f64, f64),
    pub(super) up: (f64, f64),
    /// Whether the upward axis is logarithmic.
    pub(super) logarithmic: bool,
}

impl Panel {
    pub(super) fn x(&self, value: f64) -> f64 {
        let share = (value - self.across.0) / (self.across.1 - self.across.0);
        self.left + share.clamp(0.0, 1.0) * (self.right - self.left)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let scaled = |value: f64| {
            if self.logarithmic {
                value.max(self.up.0).log10()
            } else {
                value
            }
        };
        let (low, high) = (scaled(self.up.0), scaled(self.up.1));
        let share = (scaled(value) - low) / (high - low);
        self.bottom - share.clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    /// Draws grid lines and labels of the upward axis.
    pub(super) fn draw_up(&self, canvas: &Canvas<'_>, ticks: &[Tick], title: &str) -> Result<()> {
        for (value, label) in ticks {
            let y = self.y(*value);
            canvas.line(&[(self.left, y), (self.right, y)], PALE, 0.8, SOLID)?;
            canvas.text(label, (self.left - 7.0, y), 11.0, INK, Anchor::Right)?;
        }
        let middle = f64::midpoint(self.top, self.bottom);
        canvas.text_upwards(title, (14.0, middle), 11.5)
    }

    /// Draws ticks and labels of the axis across, and its title where there is one.
    pub(super) fn draw_across(
        &self,
        canvas: &Canvas<'_>,
        ticks: &[Tick],
        title: &str,
    ) -> Result<()> {
        for (value, label) in ticks {
            let x = self.x(*value);
            canvas.line(&[(x, self.top), (x, self.bottom)], PALE, 0.8, SOLID)?;
            canvas.line(
                &[(x, self.bottom), (x, self.bottom + 4.0)],
                GREY,
                1.0,
                SOLID,
            )?;
            if !title.is_empty() {
                canvas.text(label, (x, self.bottom + 13.0), 11.0, INK, Anchor::Middle)?;
            }
        }
        if !title.is_empty() {
            let middle = f64::midpoint(self.left, self.right);
            canvas.text(
                title,
                (middle, self.bottom + 31.0),
                11.5,
                INK,
                Anchor::Middle,
            )?;
        }
        Ok(())
    }

    pub(super) fn draw_frame(&self, canvas: &Canvas<'_>) -> Result<()> {
        let corners = [
            (self.left, self.top),
            (self.left, self.bottom),
            (self.right, self.bottom),
        ];
        canvas.line(&corners, GREY, 1.0, SOLID)
    }
}
