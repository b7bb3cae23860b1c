//! What can be wrong with a deployment file or a file it names.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use code_deploy_record::Problem;

/// The stable codes of everything that can be wrong with a deployment file, with what each means.
/// This is the one place that lists them.
pub const CODES: &[(&str, &str)] = &[
    (code::NOT_FOUND, "no deployment file in the folder or above"),
    (
        code::UNREADABLE,
        "a file is missing, is not a file or cannot be read",
    ),
    (code::TOO_LARGE, "a file is larger than its limit"),
    (code::NOT_UTF8, "a file is not UTF-8"),
    (code::EMPTY, "a file is empty"),
    (
        code::SYNTAX,
        "a file is not YAML, or nests or repeats itself too much",
    ),
    (code::UNKNOWN_KEY, "a key that does not exist"),
    (code::MISSING_KEY, "a key that must be there"),
    (code::WRONG_TYPE, "a value of the wrong type or form"),
    (
        code::BAD_DURATION,
        "a length of time without a unit or with a wrong one",
    ),
    (
        code::SECRET_VALUE,
        "a secret given as a value instead of a reference",
    ),
    (
        code::UNKNOWN_SERVICE,
        "a service that the Compose file does not have",
    ),
    (
        code::UNKNOWN_ENVIRONMENT,
        "an environment that the deployment file does not have",
    ),
    (
        code::CYCLE,
        "services or environments that need each other in a circle",
    ),
    (
        code::TRAFFIC_STEPS,
        "traffic steps that do not grow up to 100",
    ),
    (code::OUT_OF_RANGE, "a number outside its range"),
    (code::JOURNEY, "a journey that cannot be carried out"),
    (code::UNKNOWN_NAME, "a name that nothing in the file has"),
    (
        code::COMPOSE,
        "a Compose file that does not follow the Compose specification",
    ),
    (
        code::VARIABLE,
        "a variable of the Compose file without a value or badly written",
    ),
    (
        code::NOT_HONOURED,
        "a Compose feature that no target honours",
    ),
    (code::EXISTS, "a file that would be overwritten"),
    (
        code::MANIFEST,
        "a manifest of a cluster that is none, stands twice, or cannot be made of its kustomization or chart",
    ),
];

/// The stable codes by name.
pub(crate) mod code {
    pub(crate) const NOT_FOUND: &str = "CD0101";
    pub(crate) const UNREADABLE: &str = "CD0102";
    pub(crate) const TOO_LARGE: &str = "CD0103";
    pub(crate) const NOT_UTF8: &str = "CD0104";
    pub(crate) const EMPTY: &str = "CD0105";
    pub(crate) const SYNTAX: &str = "CD0106";
    pub(crate) const UNKNOWN_KEY: &str = "CD0107";
    pub(crate) const MISSING_KEY: &str = "CD0108";
    pub(crate) const WRONG_TYPE: &str = "CD0109";
    pub(crate) const BAD_DURATION: &str = "CD0110";
    pub(crate) const SECRET_VALUE: &str = "CD0111";
    pub(crate) const UNKNOWN_SERVICE: &str = "CD0112";
    pub(crate) const UNKNOWN_ENVIRONMENT: &str = "CD0113";
    pub(crate) const CYCLE: &str = "CD0114";
    pub(crate) const TRAFFIC_STEPS: &str = "CD0115";
    pub(crate) const OUT_OF_RANGE: &str = "CD0116";
    pub(crate) const JOURNEY: &str = "CD0117";
    pub(crate) const UNKNOWN_NAME: &str = "CD0118";
    pub(crate) const COMPOSE: &str = "CD0119";
    pub(crate) const VARIABLE: &str = "CD0120";
    pub(crate) const NOT_HONOURED: &str = "CD0121";
    pub(crate) const EXISTS: &str = "CD0122";
    pub(crate) const MANIFEST: &str = "CD0123";
}

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
    /// The file's text, for the excerpt that a terminal shows. Left out when the place holds
    /// something secret.
    pub text: Option<Excerpt>,
}

/// The text of a file from which an error shows a few lines.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(pub(crate) Arc<str>);

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Excerpt({} bytes)", self.0.len())
    }
}

impl SpecError {
    /// Returns an error about a file as a whole.
    pub(crate) fn of_file(
        code: &'static str,
        path: impl Into<PathBuf>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Box<Self> {
        Box::new(Self {
            code,
            what: what.into(),
            path: path.into(),
            line: None,
            column: None,
            key: None,
            help: help.into(),
            text: None,
        })
    }

    /// Returns where it is: `deploy.yaml:12:5`.
    #[must_use]
    pub fn place(&self) -> String {
        let mut place = self.path.display().to_string();
        for number in [self.line, self.column].into_iter().flatten() {
            place.push_str(&format!(":{number}"));
        }
        place
    }

    /// Returns the error as a person reads it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let key = self
            .key
            .as_ref()
            .map(|key| format!(" (at `{key}`)"))
            .unwrap_or_default();
        Problem {
            code: self.code.to_owned(),
            what: format!("{}: {}{key}", self.place(), self.what),
            state: "Nothing was changed.".to_owned(),
            next: self.help.clone(),
        }
    }

    /// Returns the line before the place and the line itself, numbered, with a mark below; nothing
    /// where the place or the text is not known.
    #[must_use]
    pub fn excerpt(&self) -> Option<Vec<String>> {
        let (text, line) = (self.text.as_ref()?, self.line?);
        let first = line.saturating_sub(2);
        let around = text.0.lines().enumerate().skip(first).take(line - first);
        let mut shown: Vec<String> = around
            .map(|(index, text)| format!("{:>4} | {}", index + 1, short(text)))
            .collect();
        let at = text.0.lines().nth(line.checked_sub(1)?)?;
        let column = self.column.unwrap_or(1);
        if column <= LONGEST_LINE {
            let word = at.chars().skip(column - 1);
            let ends = |c: &char| c.is_whitespace() || matches!(c, ',' | ':');
            let width = word.take_while(|c| !ends(c)).count();
            let width = width.clamp(1, LONGEST_LINE);
            shown.push(format!(
                "     | {}{}",
                " ".repeat(column.saturating_sub(1)),
                "^".repeat(width)
            ));
        }
        Some(shown)
    }
}

/// The characters of a line that an excerpt shows.
const LONGEST_LINE: usize = 100;

fn short(line: &str) -> String {
    line.chars().take(LONGEST_LINE).collect()
}
