//! What can go wrong while pages are made.

use std::path::{Path, PathBuf};

/// The result of making pages.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while pages are made. Nothing that was written before is changed by any of
/// them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The record of the run cannot be read.
    #[error("the record cannot be read, so no page is made of it")]
    Record(#[from] code_deploy_record::Error),
    /// A template shipped with the program does not render.
    #[error("template {template} does not render")]
    Template {
        /// The template's name.
        template: String,
        /// What the template engine says.
        source: minijinja::Error,
    },
    /// A template has the wrong form.
    #[error("template {template} does not have the form of one: {what}")]
    Form {
        /// The template's name.
        template: String,
        /// What is wrong with it.
        what: String,
    },
    /// A cell names a command that pages do not know.
    #[error("`{command}` is not known: {expected}")]
    UnknownView {
        /// The command as written.
        command: String,
        /// What is known, in words.
        expected: String,
    },
    /// A chart cannot be drawn.
    #[error("chart {chart} cannot be drawn: {what}")]
    Drawing {
        /// The chart's name.
        chart: String,
        /// What is wrong.
        what: String,
    },
    /// A file holds no notebook.
    #[error("{notebook} is no notebook: {what}")]
    NotANotebook {
        /// What it was called.
        notebook: String,
        /// What is wrong with it.
        what: String,
    },
    /// A notebook cannot be written as JSON.
    #[error("notebook {notebook} cannot be written as JSON: {what}")]
    Notebook {
        /// The notebook's name.
        notebook: String,
        /// What is wrong.
        what: String,
    },
    /// The file system refused an operation.
    #[error("cannot {action} {path}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
