//! What can be wrong with a deployment file.

use std::path::PathBuf;

use code_deploy_record::Problem;

/// Something wrong with a deployment file or a file it names, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SpecError {
    /// The stable code: `CD0101`.
    pub code: &'static str,
    /// What is wrong.
    pub what: String,
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The column, from 1, where it is known.
    pub column: Option<usize>,
    /// The key, with dots between its parts, where it is known.
    pub key: Option<String>,
    /// What would be right.
    pub help: String,
}

impl SpecError {
    /// Returns the error as a person reads it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let mut place = self.path.display().to_string();
        for number in [self.line, self.column].into_iter().flatten() {
            place.push_str(&format!(":{number}"));
        }
        let key = self
            .key
            .as_ref()
            .map(|key| format!(" (at `{key}`)"))
            .unwrap_or_default();
        Problem {
            code: self.code.to_owned(),
            what: format!("{place}: {}{key}", self.what),
            state: "Nothing was changed.".to_owned(),
            next: self.help.clone(),
        }
    }
}
