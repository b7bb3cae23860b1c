//! The eighteen notebooks: ready to be run, or executed from the record of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use code_deploy_record::RunFolder;
use nbformat::v4::Output;
use serde_json::{Value, json};

use crate::Result;
use crate::cell::Command;
use crate::chart::{Chart, ChartKind, Picture, Raster};
use crate::context::{self, phase_of};
use crate::document::{Document, drawn, shown, stream};
use crate::facts::Facts;
use crate::markdown::{report_to_markdown, report_to_text};
use crate::origin::SOURCE;
use crate::outcome::{Outcomes, Shown};
use crate::series::Bins;
use crate::template::{self, Part, TEMPLATES};
use crate::view::{Material, View, read_others};
use crate::{proof, source};

/// What ready notebooks are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadySettings {
    /// The application's name.
    pub application: String,
    /// The environment: `dev`.
    pub environment: String,
    /// The target: `local`.
    pub target: String,
    /// The release that their cells name, as the deployment file gives it; nothing where it gives
    /// none, and then the cells name none either.
    pub release: Option<String>,
    /// The services, as the deployment file names them; may be empty.
    pub services: Vec<String>,
}

/// A notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The file's name without its extension: `01_Deployment_Plan`.
    pub name: String,
    /// The notebook: JSON of nbformat 4.5.
    pub text: String,
    /// The charts that it shows, which are written beside it as SVG.
    pub charts: Vec<(ChartKind, Arc<Picture>)>,
}

/// The names of the eighteen notebooks, in the order in which they are read.
#[must_use]
pub fn names() -> Vec<&'static str> {
    TEMPLATES.iter().map(|(name, _)| *name).collect()
}

/// Makes the notebooks that an engineer runs in JupyterLab: cells without outputs.
///
/// # Errors
/// [`crate::Error::Template`], [`crate::Error::Form`], [`crate::Error::Notebook`].
pub fn ready(settings: &ReadySettings) -> Result<Vec<Page>> {
    let engine = template::engine()?;
    let mut pages = Vec::new();
    for (name, _) in TEMPLATES {
        let context = context::ready(settings, name);
        let mut document = Document::new(name, false);
        for part in template::render(&engine, name, &context)? {
            match part {
                Part::Text(text) => document.text(&text)?,
                Part::Cell(source) => {
                    Command::parse(&source)?;
                    document.code(&source, None)?;
                }
            }
        }
        let facts = json!({"state": "ready", "template": name, "made_by": made_by()});
        pages.push(Page {
            name: (*name).to_owned(),
            text: document.finish(facts)?,
            charts: Vec::new(),
        });
    }
    Ok(pages)
}

/// Makes the notebooks that a reader without a kernel opens: the same cells with outputs built
/// from the record alone. The same records give the same bytes. `others` are further runs, for
/// comparisons, the environments' matrix and the DORA keys: those count that are of the same
/// application and had ended before this run began. Which did is in each notebook's metadata, with
/// the digest of the journal's last line, and so are version, texts and sources of this program.
///
/// # Errors
/// [`crate::Error::Record`] when a record does not verify or cannot be read;
/// [`crate::Error::Drawing`], [`crate::Error::Template`], [`crate::Error::Notebook`].
pub fn executed(run: &RunFolder, others: &[RunFolder]) -> Result<Vec<Page>> {
    let facts = Facts::read(run)?;
    let bins = Bins::read(&facts)?;
    let others = read_others(&facts, others)?;
    let mut writer = Writer {
        material: Material {
            facts: &facts,
            bins: &bins,
            others: &others,
        },
        charts: BTreeMap::new(),
        raster: Raster::default(),
    };
    let engine = template::engine()?;
    let resources = crate::view::has_resources(&bins);
    let mut pages = Vec::new();
    for (name, _) in TEMPLATES {
        let context = context::executed(&facts, others.len(), resources, name)?;
        let parts = template::render(&engine, name, &context)?;
        pages.push(writer.page(name, &parts)?);
    }
    proof::attach(&mut pages, run, &facts.started)?;
    Ok(pages)
}

/// Makes the notebook that hands over, from the record of a run as it stands.
///
/// # Errors
/// As those of [`executed`].
pub fn handover(run: &RunFolder) -> Result<Page> {
    const NAME: &str = "09_Operational_Handover";
    let (facts, bins) = (Facts::read(run)?, Bins::default());
    let mut writer = Writer {
        material: Material {
            facts: &facts,
            bins: &bins,
            others: &[],
        },
        charts: BTreeMap::new(),
        raster: Raster::default(),
    };
    let context = context::executed(&facts, 0, false, NAME)?;
    let parts = template::render(&template::engine()?, NAME, &context)?;
    writer.page(NAME, &parts)
}

/// What a notebook follows from apart from records: version, texts and sources of this program.
fn made_by() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "templates": template::digest().to_string(),
        SOURCE: source::digest().to_string(),
    })
}

fn input(other: &Facts) -> Value {
    json!({
        "run": other.started.run.as_str(),
        "journal_events": other.state.events,
        "journal_head": other.head.to_string(),
    })
}

struct Writer<'a> {
    material: Material<'a>,
    charts: BTreeMap<ChartKind, Chart>,
    raster: Raster,
}

impl Writer<'_> {
    fn page(&mut self, name: &str, parts: &[Part]) -> Result<Page> {
        let facts = self.material.facts;
        let mut commands = Vec::new();
        for part in parts {
            if let Part::Cell(source) = part {
                commands.push(Command::parse(source)?);
            }
        }
        let outcomes = Outcomes::new(facts, &commands);
        let mut document = Document::new(name, phase_of(name).is_none());
        let mut shown_charts = Vec::new();
        let mut place = 0;
        for part in parts {
            match part {
                Part::Text(text) => document.text(text)?,
                Part::Cell(source) => {
                    let Some(command) = commands.get(place) else {
                        continue;
                    };
                    let (outputs, note) = self.outputs(&outcomes, place, command)?;
                    document.code(source, outputs)?;
                    if let Some(note) = note {
                        document.note(&note, source)?;
                    }
                    if let Command::Chart(kind) = command {
                        shown_charts.push(*kind);
                    }
                    place += 1;
                }
            }
        }
        let compared: Vec<_> = self.material.others.iter().map(input).collect();
        let metadata = json!({
            "made_by": made_by(),
            "compared_with": compared,
            "state": "executed",
            "template": name,
            "run": facts.started.run.as_str(),
            "journal_events": facts.state.events,
            "journal_head": facts.head.to_string(),
            "record": {
                "origin": code_deploy_record::origin(&facts.started),
                "size": facts.tree.size,
                "root": facts.tree.root,
            },
        });
        let text = document.finish(metadata)?;
        let picture = |kind: ChartKind| Some((kind, self.charts.get(&kind)?.picture.clone()?));
        Ok(Page {
            name: name.to_owned(),
            text,
            charts: shown_charts.into_iter().filter_map(picture).collect(),
        })
    }

    /// Returns a cell's outputs, or nothing where it is left unexecuted, and a note after it.
    fn outputs(
        &mut self,
        outcomes: &Outcomes<'_>,
        place: usize,
        command: &Command,
    ) -> Result<(Option<Vec<Output>>, Option<String>)> {
        Ok(match command {
            Command::Open => {
                let text = crate::view::opening(self.material.facts);
                let markdown = crate::markdown::escape(&text);
                (Some(vec![shown(markdown, text)]), None)
            }
            Command::Record(view) => (Some(vec![self.view(view)?]), None),
            Command::Chart(kind) => (Some(drawn(self.chart(*kind)?)), None),
            Command::Verb { verb, section } => match outcomes.of(place, verb, section.as_deref()) {
                Shown::Executed(outputs) => (Some(outputs), None),
                Shown::NotReached(why) => {
                    (None, Some(format!("*{}*", crate::markdown::escape(&why))))
                }
            },
            Command::Procedure => (None, None),
        })
    }

    fn view(&self, view: &View) -> Result<Output> {
        let report = self.material.report(view)?;
        if matches!(view, View::Events(_)) {
            let text = report_to_text(&report);
            return Ok(stream(text + "\n"));
        }
        Ok(shown(report_to_markdown(&report), report_to_text(&report)))
    }

    fn chart(&mut self, kind: ChartKind) -> Result<&Chart> {
        let Material { facts, bins, .. } = self.material;
        match self.charts.entry(kind) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => {
                Ok(place.insert(crate::chart::draw(facts, bins, kind, &mut self.raster)?))
            }
        }
    }
}
