//! What a section of a phase has to say, independent of the face that shows it.

use serde::{Deserialize, Serialize};

/// The content of one section: what a command found or did, as a terminal, a notebook cell and a
/// page all show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The blocks in the order in which they are shown.
    pub blocks: Vec<Block>,
}

/// One block of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "block", rename_all = "snake_case")]
pub enum Block {
    /// A paragraph of plain text.
    Text {
        /// The text; no markup.
        text: String,
    },
    /// A table.
    Table {
        /// What the table shows.
        caption: String,
        /// The columns from left to right.
        columns: Vec<Column>,
        /// The rows; each has one entry per column.
        rows: Vec<Vec<String>>,
    },
    /// A file or an excerpt of one, shown as it is.
    Code {
        /// What it is.
        caption: String,
        /// The language, for highlighting: `yaml`, `json`, `text`.
        language: String,
        /// The content.
        text: String,
    },
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The heading, with the unit where there is one: `p99 (ms)`.
    pub title: String,
    /// Whether the entries are numbers, which are aligned to the right.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub numeric: bool,
}

impl Column {
    /// Returns a column of text.
    pub fn text(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            numeric: false,
        }
    }

    /// Returns a column of numbers.
    pub fn number(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            numeric: true,
        }
    }
}

impl Report {
    /// Returns a report without blocks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text { text: text.into() });
        self
    }

    /// Adds a table. Rows that are shorter or longer than the columns are made to fit, so that no
    /// face has to deal with ragged tables.
    #[must_use]
    pub fn with_table(
        mut self,
        caption: impl Into<String>,
        columns: Vec<Column>,
        mut rows: Vec<Vec<String>>,
    ) -> Self {
        for row in &mut rows {
            row.resize(columns.len(), String::new());
        }
        self.blocks.push(Block::Table {
            caption: caption.into(),
            columns,
            rows,
        });
        self
    }

    /// Adds a file or an excerpt of one.
    #[must_use]
    pub fn with_code(
        mut self,
        caption: impl Into<String>,
        language: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        self.blocks.push(Block::Code {
            caption: caption.into(),
            language: language.into(),
            text: text.into(),
        });
        self
    }
}
