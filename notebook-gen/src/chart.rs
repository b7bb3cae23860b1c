//! Charts of a run, drawn from its record: an SVG by plotters, rasterised at twice its size to a
//! palette PNG on white, with one sentence that says the same in figures.
//!
//! A release keeps its colour in all charts; quantiles differ by dash pattern, so that nothing is
//! told by colour alone.

mod accessible;
mod bands;
mod canvas;
mod errors;
mod gates;
mod health;
mod latency;
mod layers;
mod load;
mod markers;
mod migrations;
mod network;
mod panel;
mod raster;
mod rollout;
mod scene;
mod services;
mod shapes;
mod steps;
mod ticks;
mod topology;
mod traffic;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use code_deploy_record::RunFolder;

use crate::facts::Facts;
use crate::series::Bins;
use crate::{Error, Result};

pub(crate) use raster::Raster;

/// What a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChartKind {
    /// Latency quantiles over time by release, with traffic steps, gates and rollbacks marked.
    Latency,
    /// Share of failed requests over time by release.
    Errors,
    /// Requests a second and the share of each release.
    Traffic,
    /// Health of every instance over time.
    Health,
    /// The gates' answers over time.
    Gates,
    /// Latency distribution of the load tests.
    Load,
    /// Durations of the migrations.
    Migrations,
    /// When each step ran and how long.
    Steps,
    /// Who calls what, and what runs of each service.
    Services,
    /// From clients outside to what listens where.
    Network,
    /// Which release had which share of traffic when, and when its instances ran.
    Rollout,
}

impl ChartKind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 11] = [
        Self::Latency,
        Self::Errors,
        Self::Traffic,
        Self::Health,
        Self::Gates,
        Self::Load,
        Self::Migrations,
        Self::Steps,
        Self::Services,
        Self::Network,
        Self::Rollout,
    ];

    /// Returns whether it shows the time of the run from left to right, with what happened when.
    fn is_over_time(self) -> bool {
        match self {
            Self::Latency
            | Self::Errors
            | Self::Traffic
            | Self::Health
            | Self::Gates
            | Self::Steps
            | Self::Rollout => true,
            Self::Load | Self::Migrations | Self::Services | Self::Network => false,
        }
    }

    /// Returns the name: the word after `%chart` and the SVG's file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Traffic => "traffic",
            Self::Health => "health",
            Self::Gates => "gates",
            Self::Load => "load",
            Self::Migrations => "migrations",
            Self::Steps => "steps",
            Self::Services => "services",
            Self::Network => "network",
            Self::Rollout => "rollout",
        }
    }
}

impl fmt::Display for ChartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ChartKind {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == value);
        found.ok_or_else(|| Error::UnknownView {
            command: format!("chart {}", crate::format::cut(value, 80)),
            expected: format!("the charts are {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

/// A chart, or the sentence that says why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// What it shows.
    pub kind: ChartKind,
    /// Its title.
    pub title: String,
    /// One sentence with its key figures: the text alternative and the caption. Without a picture:
    /// why there is none.
    pub sentence: String,
    /// How to read it: bins, marks, sources. Empty without a picture.
    pub notes: Vec<String>,
    /// The picture, when there is something to draw.
    pub picture: Option<Arc<Picture>>,
}

/// A drawn chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The drawing, with the text alternative in it; it names a font, which a viewer may replace.
    pub svg: String,
    /// The same as PNG, at twice the size.
    pub png: Vec<u8>,
    /// The width at which it is shown, in CSS pixels.
    pub width: u32,
    /// The height at which it is shown, in CSS pixels.
    pub height: u32,
}

impl Picture {
    /// Returns the PNG in base64, without line breaks.
    #[must_use]
    pub fn png_base64(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&self.png)
    }
}

impl Chart {
    pub(crate) fn absent(kind: ChartKind, title: &str, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            title: title.to_owned(),
            sentence: sentence.into(),
            notes: Vec::new(),
            picture: None,
        }
    }

    /// Returns the text alternative: title and sentence.
    #[must_use]
    pub fn alternative(&self) -> String {
        format!("{}: {}", self.title, self.sentence)
    }

    /// Returns the caption as Markdown: the sentence, and how to read the chart.
    #[must_use]
    pub fn caption_markdown(&self) -> String {
        let sentence = crate::markdown::escape(&self.sentence);
        if self.picture.is_none() {
            return format!("*{}*: {sentence}", crate::markdown::escape(&self.title));
        }
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|n| crate::markdown::escape(n))
            .collect();
        let title = crate::markdown::escape(&self.title);
        format!("**{title}.** {sentence}\n\n{}", notes.join(" "))
            .trim_end()
            .to_owned()
    }

    /// Returns the caption as plain text.
    #[must_use]
    pub fn caption_text(&self) -> String {
        let text = format!("{}. {}", self.title, self.sentence);
        if self.notes.is_empty() {
            return text;
        }
        format!("{text}\n{}", self.notes.join(" "))
    }
}

/// Draws a chart of a run as its record stands now.
///
/// # Errors
/// [`Error::Record`] when the record cannot be read; [`Error::Drawing`].
pub fn chart(run: &RunFolder, kind: ChartKind) -> Result<Chart> {
    read_and_draw(run, kind, Raster::default())
}

/// Draws a chart of a run, as [`chart`] does, for a display that is drawn anew while the run goes on: its picture has a
/// pixel for each of the page, where others have four.
///
/// # Errors
/// Those of [`chart`].
pub fn sketch(run: &RunFolder, kind: ChartKind) -> Result<Chart> {
    read_and_draw(run, kind, Raster::of_sketches())
}

fn read_and_draw(run: &RunFolder, kind: ChartKind, mut raster: Raster) -> Result<Chart> {
    let facts = Facts::read(run)?;
    let bins = Bins::read(&facts)?;
    draw(&facts, &bins, kind, &mut raster)
}

/// Draws a chart from what was read already.
///
/// # Errors
/// [`Error::Drawing`].
pub(crate) fn draw(
    facts: &Facts,
    bins: &Bins,
    kind: ChartKind,
    raster: &mut Raster,
) -> Result<Chart> {
    let mut chart = match kind {
        ChartKind::Latency => latency::draw(facts, bins, raster),
        ChartKind::Errors => errors::draw(facts, bins, raster),
        ChartKind::Traffic => traffic::draw(facts, bins, raster),
        ChartKind::Health => health::draw(facts, bins, raster),
        ChartKind::Gates => gates::draw(facts, bins, raster),
        ChartKind::Load => load::draw(facts, raster),
        ChartKind::Migrations => migrations::draw(facts, raster),
        ChartKind::Steps => steps::draw(facts, bins, raster),
        ChartKind::Services => services::draw(facts, raster),
        ChartKind::Network => network::draw(facts, raster),
        ChartKind::Rollout => rollout::draw(facts, bins, raster),
    }?;
    if kind.is_over_time() && chart.picture.is_some() {
        markers::tell_unattended(facts, &mut chart);
    }
    if let Some(mut picture) = chart.picture.take() {
        let svg = accessible::with_words(&picture.svg, &chart);
        Arc::make_mut(&mut picture).svg = svg;
        chart.picture = Some(picture);
    }
    Ok(chart)
}
