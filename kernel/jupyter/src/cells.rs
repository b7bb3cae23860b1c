use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::interrupt::Interrupt;
use crate::output::CellOutput;

/// What cells mean: implemented by the program, called by the kernel.
///
/// Cells of one shell run one after the other; cells of different subshells run at the same time.
#[async_trait]
pub trait Cells: Send + Sync + 'static {
    /// Runs a cell to its end. Everything sent to `out` before this returns arrives before the cell's
    /// `idle`; what is sent later is dropped.
    ///
    /// # Errors
    /// A [`CellError`] becomes the error of the cell and stops *Run All*.
    ///
    /// # Cancel safety
    /// The future is dropped when the kernel ends while the cell runs, two seconds after `interrupt`
    /// was requested twice.
    async fn execute(
        &self,
        cell: Cell,
        out: CellOutput,
        interrupt: Interrupt,
    ) -> Result<(), CellError>;

    /// Says whether a cell has nothing to do, so that no thread needs to wake for it. Must not wait.
    fn is_idle(&self, code: &str) -> bool {
        code.trim().is_empty()
    }

    /// Evaluates one of the `user_expressions` of an execute request, after its cell.
    ///
    /// # Errors
    /// Where the expression has no value; the default says that there are no expressions.
    async fn expression(&self, expression: &str) -> Result<MimeBundle, CellError> {
        Err(CellError::new(
            "NotSupported",
            format!("this kernel evaluates no user expressions; {expression:?} was not evaluated"),
        ))
    }

    /// Returns what could stand at `cursor` (in characters from the start of `code`).
    async fn complete(&self, code: &str, cursor: usize) -> Completion;

    /// Returns help on what stands at `cursor` (in characters), or `None` where there is none.
    /// `detail` is 0 for one question mark, 1 for two.
    async fn inspect(&self, code: &str, cursor: usize, detail: u8) -> Option<MimeBundle>;

    /// Says whether `code` can run as it is, for consoles that decide what the Enter key does.
    async fn is_complete(&self, code: &str) -> IsComplete;

    /// Describes the kernel. Called once, before the first message: must not wait.
    fn info(&self) -> KernelInfo;

    /// Called once when the kernel ends, after running cells were interrupted; has two seconds.
    async fn shutdown(&self, _restart: bool) {}
}

/// A cell to run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cell {
    /// The text of the cell.
    pub code: String,
    /// The number shown beside it.
    pub execution_count: u64,
    /// True where nothing of it is to be shown.
    pub silent: bool,
    /// False where it is not to be remembered.
    pub store_history: bool,
    /// The id of the cell in its notebook, where the client says it.
    pub cell_id: Option<String>,
    /// The id of the request.
    pub msg_id: String,
    /// The session of the client.
    pub session: String,
    /// The subshell it runs in; `None` is the main shell.
    pub subshell: Option<String>,
}

/// One content in several forms, keyed by MIME type; clients show the richest they know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MimeBundle(Map<String, Value>);

impl MimeBundle {
    /// Returns a bundle of plain text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().with("text/plain", text.into())
    }

    /// Adds a form; binary forms (`image/png`) are given in base64.
    #[must_use]
    pub fn with(mut self, mime: impl Into<String>, content: impl Into<Value>) -> Self {
        self.0.insert(mime.into(), content.into());
        self
    }

    /// Returns the content of a MIME type.
    #[must_use]
    pub fn get(&self, mime: &str) -> Option<&Value> {
        self.0.get(mime)
    }

    /// True where there is no form at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

impl From<Map<String, Value>> for MimeBundle {
    fn from(forms: Map<String, Value>) -> Self {
        Self(forms)
    }
}

/// A failed cell, as a notebook shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{ename}: {evalue}")]
pub struct CellError {
    /// The kind of error, one word.
    pub ename: String,
    /// What went wrong, one line.
    pub evalue: String,
    /// What is shown, line by line; may hold ANSI colours.
    pub traceback: Vec<String>,
}

impl CellError {
    /// Returns an error whose traceback is its kind and text.
    #[must_use]
    pub fn new(ename: impl Into<String>, evalue: impl Into<String>) -> Self {
        let (ename, evalue) = (ename.into(), evalue.into());
        let traceback = vec![format!("\u{1b}[31m{ename}\u{1b}[0m: {evalue}")];
        Self {
            ename,
            evalue,
            traceback,
        }
    }

    /// Replaces the traceback.
    #[must_use]
    pub fn with_traceback(mut self, lines: Vec<String>) -> Self {
        self.traceback = lines;
        self
    }
}

/// What could be written at the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// The candidates, best first.
    pub matches: Vec<CompletionMatch>,
    /// Where the text to replace starts, in characters.
    pub start: usize,
    /// Where it ends, in characters.
    pub end: usize,
}

/// One candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionMatch {
    /// What replaces the text.
    pub text: String,
    /// Its kind, shown beside it: `magic`, `option`, `function`, ...
    pub kind: String,
}

/// Whether a text can run as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IsComplete {
    /// It can run.
    Complete,
    /// More lines are needed; the next starts with `indent`.
    Incomplete {
        /// White space for the next line.
        indent: String,
    },
    /// It is wrong however it goes on.
    Invalid,
    /// The kernel cannot tell.
    Unknown,
}

/// The kernel's description of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelInfo {
    /// The name of the program.
    pub implementation: String,
    /// Its version.
    pub implementation_version: String,
    /// Shown by consoles at the start.
    pub banner: String,
    /// The language of cells.
    pub language: LanguageInfo,
    /// The help menu.
    pub help_links: Vec<Link>,
}

/// The language of cells, as notebooks record it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanguageInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its MIME type, such as `text/rust`.
    pub mimetype: String,
    /// With the dot, such as `.rs`.
    pub file_extension: String,
    /// The Pygments lexer, where it differs from the name.
    pub pygments_lexer: Option<String>,
    /// The CodeMirror mode, where it differs from the name.
    pub codemirror_mode: Option<String>,
}

/// An entry of the help menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What is shown.
    pub text: String,
    /// Where it leads.
    pub url: String,
}
