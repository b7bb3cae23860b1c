//! A notebook as nbformat 4.5 has it, by the types of the `nbformat` crate. Its writer sorts keys
//! and indents by one, as Jupyter's own does, so the same notebook gives the same bytes.

use std::collections::BTreeMap;

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

/// A notebook being put together.
pub(crate) struct Document {
    name: String,
    cells: Vec<Cell>,
    ids: BTreeMap<String, u32>,
    executed: i32,
    hide_sources: bool,
}

impl Document {
    pub(crate) fn new(name: &str, hide_sources: bool) -> Self {
        Self {
            name: name.to_owned(),
            cells: Vec::new(),
            ids: BTreeMap::new(),
            executed: 0,
            hide_sources,
        }
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        let heading = text
            .lines()
            .find(|line| line.starts_with('#'))
            .unwrap_or(text);
        let id = self.id("text", heading)?;
        self.cells.push(Cell::Markdown {
            id,
            metadata: CellMetadata::default(),
            source: lines(text),
            attachments: None,
        });
        Ok(())
    }

    /// Adds a code cell: executed when `outputs` is there, even if it holds none.
    pub(crate) fn code(&mut self, source: &str, outputs: Option<Vec<Output>>) -> Result<()> {
        let id = self.id("cell", source)?;
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

    /// Makes an id of the cell's kind and words: the same template gives the same ids, so that two
    /// runs can be compared.
    fn id(&mut self, kind: &str, text: &str) -> Result<CellId> {
        let mut slug = String::new();
        for character in text.chars() {
            if character.is_ascii_alphanumeric() {
                slug.push(character.to_ascii_lowercase());
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        slug.truncate(44);
        let stem = format!("{kind}-{}", slug.trim_end_matches('-'));
        let number = self.ids.entry(stem.clone()).or_default();
        *number += 1;
        let id = if *number == 1 {
            stem
        } else {
            format!("{stem}-{number}")
        };
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
