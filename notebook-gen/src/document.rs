//! A notebook as nbformat 4.5 has it, by the types of the `nbformat` crate. Its writer sorts keys
//! and indents by one, as Jupyter's own does, so the same notebook gives the same bytes.

use std::collections::BTreeSet;

use jupyter_protocol::media::{Media, MediaType};
use nbformat::v4::{
    Cell, CellId, CellMetadata, CodemirrorMode, DisplayData, ErrorOutput, JupyterCellMetadata,
    KernelSpec, LanguageInfo, Metadata, MultilineString, Notebook, Output,
};
use serde_json::{Map, Value, json};

use crate::chart::{Chart, Picture};
use crate::{Error, Result};

/// The name of the kernelspec that notebooks ask for, and what it is shown as.
pub const KERNEL: &str = "code-deploy";

/// The kernel's language, as it tells it and as notebooks hold it: a page that opens a notebook writes what the kernel
/// says into it, so that a difference would change the file of a sealed notebook that nobody touched.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    /// What it is called.
    pub name: &'static str,
    /// The version that is told: that of the program.
    pub version: &'static str,
    /// The type of its files.
    pub mimetype: &'static str,
    /// What the names of its files end in.
    pub file_extension: &'static str,
    /// How Pygments colours it.
    pub pygments_lexer: &'static str,
    /// How CodeMirror colours it.
    pub codemirror_mode: &'static str,
}

/// The language of cells that hold no command.
pub const LANGUAGE: Language = Language {
    name: "rust",
    version: env!("CARGO_PKG_VERSION"),
    mimetype: "text/rust",
    file_extension: ".rs",
    pygments_lexer: "rust",
    codemirror_mode: "rust",
};

/// The longest parts of an id: nbformat takes 64 characters, of which the place of a cell among others needs some.
const NAME_LENGTH: usize = 12;
const SECTION_LENGTH: usize = 18;
const WHAT_LENGTH: usize = 28;

/// A notebook being put together.
pub(crate) struct Document {
    name: String,
    cells: Vec<Cell>,
    ids: BTreeSet<String>,
    /// The heading under which the next cell stands.
    section: String,
    executed: i32,
    hide_sources: bool,
}

impl Document {
    pub(crate) fn new(name: &str, hide_sources: bool) -> Self {
        Self {
            name: name.to_owned(),
            cells: Vec::new(),
            ids: BTreeSet::new(),
            section: String::new(),
            executed: 0,
            hide_sources,
        }
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        if let Some(first) = headings(text).next() {
            first.clone_into(&mut self.section);
        }
        let id = self.id("text")?;
        if let Some(last) = headings(text).last() {
            last.clone_into(&mut self.section);
        }
        self.markdown(id, text);
        Ok(())
    }

    /// Adds what there is to say of the cell with that source. Not every run has it, so that it counts apart from
    /// the texts that every run has.
    pub(crate) fn note(&mut self, text: &str, source: &str) -> Result<()> {
        let id = self.id(&format!("note {}", command(source)))?;
        self.markdown(id, text);
        Ok(())
    }

    fn markdown(&mut self, id: CellId, text: &str) {
        self.cells.push(Cell::Markdown {
            id,
            metadata: CellMetadata::default(),
            source: lines(text),
            attachments: None,
        });
    }

    /// Adds a code cell: executed when `outputs` is there, even if it holds none.
    pub(crate) fn code(&mut self, source: &str, outputs: Option<Vec<Output>>) -> Result<()> {
        let id = self.id(command(source))?;
        let mut metadata = CellMetadata::default();
        if self.hide_sources && outputs.is_some() {
            metadata.jupyter = Some(JupyterCellMetadata {
                source_hidden: Some(true),
                outputs_hidden: None,
                additional: std::collections::HashMap::new(),
            });
        }
        if outputs.is_some() {
            self.executed += 1;
        }
        self.cells.push(Cell::Code {
            id,
            metadata,
            execution_count: outputs.is_some().then_some(self.executed),
            source: lines(source),
            outputs: outputs.unwrap_or_default(),
        });
        Ok(())
    }

    /// Makes an id of the notebook's name, the section and what the cell is; of cells alike in all three, the place
    /// among them tells. Nothing of a run is in it, so that the notebooks of two runs can be compared.
    fn id(&mut self, what: &str) -> Result<CellId> {
        let parts = [
            (self.name.as_str(), NAME_LENGTH),
            (self.section.as_str(), SECTION_LENGTH),
            (what, WHAT_LENGTH),
        ];
        let slugs = parts.map(|(text, longest)| slug(text, longest));
        let slugs: Vec<&str> = slugs
            .iter()
            .map(String::as_str)
            .filter(|slug| !slug.is_empty())
            .collect();
        let stem = slugs.join("-");
        let (mut id, mut place) = (stem.clone(), 1_u32);
        while !self.ids.insert(id.clone()) {
            place += 1;
            id = format!("{stem}-{place}");
        }
        CellId::new(&id).map_err(|what| self.failed(what))
    }

    fn failed(&self, what: impl ToString) -> Error {
        Error::Notebook {
            notebook: self.name.clone(),
            what: what.to_string(),
        }
    }

    /// Returns the notebook as JSON with `facts` in its metadata.
    pub(crate) fn finish(self, facts: Value) -> Result<String> {
        let additional = std::collections::HashMap::new;
        let name = self.name.clone();
        let language = LanguageInfo {
            name: LANGUAGE.name.to_owned(),
            version: Some(LANGUAGE.version.to_owned()),
            codemirror_mode: Some(CodemirrorMode::String(LANGUAGE.codemirror_mode.to_owned())),
            additional: [
                ("file_extension", LANGUAGE.file_extension),
                ("mimetype", LANGUAGE.mimetype),
                ("pygments_lexer", LANGUAGE.pygments_lexer),
            ]
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .into(),
        };
        let notebook = Notebook {
            metadata: Metadata {
                kernelspec: Some(KernelSpec {
                    display_name: KERNEL.to_owned(),
                    name: KERNEL.to_owned(),
                    language: Some("rust".to_owned()),
                    additional: additional(),
                }),
                language_info: Some(language),
                authors: None,
                additional: [("code-deploy".to_owned(), facts)].into(),
            },
            nbformat: 4,
            nbformat_minor: 5,
            cells: self.cells,
        };
        nbformat::serialize_notebook(&nbformat::Notebook::V4(notebook)).map_err(|error| {
            Error::Notebook {
                notebook: name,
                what: error.to_string(),
            }
        })
    }
}

/// Returns the headings of a text, in order; a line of code that begins alike is none.
fn headings(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter_map(move |line| {
        if line.starts_with("```") {
            is_code = !is_code;
        }
        let heading = line.trim_start_matches('#');
        let is_heading = !is_code && heading.len() < line.len() && heading.starts_with(' ');
        is_heading.then(|| heading.trim())
    })
}

/// Returns the words of a cell's command without its options, and of the one that opens a run without where it
/// deploys: they differ from run to run.
fn command(source: &str) -> &str {
    let line = source.lines().next().unwrap_or_default();
    let line = line.trim_start_matches(['/', '%', ' ']);
    let words = line.split(" --").next().unwrap_or_default();
    match words.split_once(' ') {
        Some((opens @ "code-deploy", _)) => opens,
        _ => words,
    }
}

/// Makes a part of an id: as many whole words as fit, or as much of the first as does.
fn slug(text: &str, longest: usize) -> String {
    let mut slug = String::new();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        if slug.is_empty() {
            slug.extend(word.chars().take(longest));
        } else if slug.len() + 1 + word.len() <= longest {
            slug.push('-');
            slug.push_str(word);
        } else {
            break;
        }
    }
    slug.to_ascii_lowercase()
}

fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// An output of Markdown with its plain text.
pub(crate) fn shown(markdown: String, plain: String) -> Output {
    let content = vec![MediaType::Markdown(markdown), MediaType::Plain(plain)];
    Output::DisplayData(DisplayData {
        data: Media::new(content),
        metadata: Map::new(),
    })
}

/// An output of lines as they are.
pub(crate) fn stream(text: String) -> Output {
    Output::Stream {
        name: "stdout".to_owned(),
        text: MultilineString(text),
    }
}

/// An error as a kernel gives it.
pub(crate) fn error(ename: String, evalue: String, traceback: Vec<String>) -> Output {
    Output::Error(ErrorOutput {
        ename,
        evalue,
        traceback,
    })
}

/// A chart: the picture with its text alternative, then the caption. The caption is an output of its own,
/// because Markdown in the picture's bundle would be shown in place of the picture.
pub(crate) fn drawn(chart: &Chart) -> Vec<Output> {
    let caption = shown(chart.caption_markdown(), chart.caption_text());
    match &chart.picture {
        Some(picture) => vec![image(chart, picture), caption],
        None => vec![caption],
    }
}

fn image(chart: &Chart, picture: &Picture) -> Output {
    let alt = chart.alternative();
    let content = vec![
        MediaType::Png(picture.png_base64()),
        MediaType::Plain(alt.clone()),
    ];
    let size = json!({"width": picture.width, "height": picture.height, "alt": alt});
    let mut metadata = Map::new();
    metadata.insert("image/png".to_owned(), size);
    Output::DisplayData(DisplayData {
        data: Media::new(content),
        metadata,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ids(document: &Document) -> Vec<String> {
        let cells = document.cells.iter();
        cells.map(|cell| cell.id().to_string()).collect()
    }

    #[test]
    fn an_id_is_made_of_notebook_section_and_command_and_of_nothing_of_the_run() {
        let made = |run: &str| {
            let mut document = Document::new("05_Database_Migration", false);
            let top = format!(
                "# 05 Database Migration\n\n{run}\n\n```sh\n# no heading\n```\n\n## Opening the run"
            );
            document.text(&top).unwrap();
            let opens = format!("%code-deploy dev local --to 1.1.0 --run {run}");
            document.code(&opens, None).unwrap();
            document
                .note(&format!("*Not reached: {run}*"), &opens)
                .unwrap();
            document.text("## What came of it").unwrap();
            document
                .code("// %rollback --reason \"WHY\"", None)
                .unwrap();
            document.text(run).unwrap();
            document
                .code("// %rollback --reason \"WHY\"", None)
                .unwrap();
            ids(&document)
        };
        let expected = [
            "05-database-05-database-text",
            "05-database-opening-the-run-code-deploy",
            "05-database-opening-the-run-note-code-deploy",
            "05-database-what-came-of-it-text",
            "05-database-what-came-of-it-rollback",
            "05-database-what-came-of-it-text-2",
            "05-database-what-came-of-it-rollback-2",
        ];
        assert_eq!(made("20261123T140000000Z-dev-local-0001"), expected);
        assert_eq!(made("another"), expected);
    }

    #[test]
    fn an_id_is_unique_and_no_longer_than_nbformat_takes() {
        let mut document = Document::new("02_Pre_Deployment_Validation", false);
        let long = "x".repeat(90);
        document.text(&format!("## {long}")).unwrap();
        for _ in 0..120 {
            document
                .code(&format!("%record section 07 {long}"), None)
                .unwrap();
            document.code(&format!("%{long}"), None).unwrap();
        }
        document.code("%record section 07 2", None).unwrap();
        let ids = ids(&document);
        assert!(ids.iter().all(|id| id.len() <= 64));
        let all: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(all.len(), ids.len());
    }
}
