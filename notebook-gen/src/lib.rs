//! Pages of a run.
mod error;
pub mod facts;
pub mod format;
mod chart;
mod markdown;
mod series;
pub use error::{Error, Result};
pub use chart::{Chart, ChartKind, Picture, chart, draw as draw_chart};
pub use facts::Facts;
pub use markdown::{escape, report_to_markdown, report_to_text};
pub use series::{Bins, Key, Point, Quantiles, Series};
