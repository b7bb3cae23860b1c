//! A YAML file, read with its limits, whose errors know their place.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_saphyr::Error as Yaml;

use super::error::{Excerpt, SpecError, code};
use super::nearest::{nearest, or_list};
use super::node::{Node, Place, Value};

/// The size above which a file is refused before it is read.
pub(crate) const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A YAML file.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) path: PathBuf,
    pub(crate) text: Arc<str>,
    pub(crate) root: Node,
}

impl Document {
    /// Reads a YAML file whose outermost value is a mapping. `what` names it: `deployment file`.
    pub(crate) fn read(path: &Path, what: &str) -> Result<Self, Box<SpecError>> {
        let text = read_text(path, what)?;
        Self::parse(path, text, what)
    }

    /// Parses the text of a YAML file.
    pub(crate) fn parse(path: &Path, text: String, what: &str) -> Result<Self, Box<SpecError>> {
        let empty = Node {
            at: Place { line: 1, column: 1 },
            value: Value::Null,
        };
        let mut document = Self {
            path: path.to_owned(),
            text: Arc::from(text),
            root: empty,
        };
        let root: Option<Node> = serde_saphyr::from_str_with_options(&document.text, options())
            .map_err(|error| document.yaml_error(&error))?;
        match root {
            Some(root) if matches!(root.value, Value::Map(_)) => document.root = root,
            Some(Node {
                value: Value::Null, ..
            })
            | None => {
                return Err(SpecError::of_file(
                    code::EMPTY,
                    path,
                    format!("the {what} says nothing"),
                    "Write the keys it needs; `code-deploy init` writes a commented deployment \
                     file.",
                ));
            }
            Some(root) => {
                let what = format!("the {what} is {}, not a mapping of keys", root.kind());
                let mut error = document.at(root.at, code::WRONG_TYPE, what);
                error.help = "Write `key: value` lines.".to_owned();
                return Err(error);
            }
        }
        Ok(document)
    }

    /// Returns the file's content as a type.
    pub(crate) fn typed<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, Box<SpecError>> {
        serde_saphyr::from_str_with_options(&self.text, options()).map_err(|error| {
            match error.without_snippet() {
                Yaml::SerdeMissingField { field, .. } => self.missing::<T>(field),
                error => self.yaml_error(error),
            }
        })
    }

    /// Returns the error of a missing key. The reader only knows where the mapping ends; the
    /// schema knows which mapping it is.
    fn missing<T: JsonSchema>(&self, field: &str) -> Box<SpecError> {
        let schema = schemars::schema_for!(T).to_value();
        let json = self.root.json();
        let found = jsonschema::validator_for(&schema)
            .ok()
            .and_then(|validator| {
                let mut errors = validator.iter_errors(&json);
                errors.find_map(|error| lacking(&error, field))
            });
        let mut path: Vec<String> = found
            .iter()
            .flat_map(|pointer| pointer.split('/').skip(1))
            .map(|part| part.replace("~1", "/").replace("~0", "~"))
            .collect();
        path.push(field.to_owned());
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let what = format!("the key `{field}` is missing");
        let help = format!(
            "Write `{field}:`; the file that `code-deploy init` writes shows what it is for."
        );
        self.error(code::MISSING_KEY, &parts, what, help)
    }

    /// Returns an error at the value that the keys lead to, or as near to it as the file goes.
    pub(crate) fn error(
        &self,
        code: &'static str,
        path: &[&str],
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Box<SpecError> {
        let mut at = self.root.at;
        let mut node = &self.root;
        for part in path {
            let Some(next) = node.get(part) else { break };
            // A mapping begins on the line after its key: the key is what a reader looks for.
            at = match (node.entry(part), &next.value) {
                (Some(entry), Value::Map(_) | Value::List(_) | Value::Null) => entry.at,
                _ => next.at,
            };
            node = next;
        }
        self.at_key(at, code, path, what.into(), help.into())
    }

    /// Returns an error at the key that the keys lead to.
    pub(crate) fn error_at_key(
        &self,
        code: &'static str,
        path: &[&str],
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Box<SpecError> {
        let mut error = self.error(code, path, what, help);
        if let Some((last, parents)) = path.split_last()
            && let Some(entry) = self.node(parents).and_then(|node| node.entry(last))
        {
            (error.line, error.column) = (Some(entry.at.line), Some(entry.at.column));
        }
        error
    }

    /// Returns the value that the keys lead to.
    pub(crate) fn node(&self, path: &[&str]) -> Option<&Node> {
        path.iter()
            .try_fold(&self.root, |node, part| node.get(part))
    }

    fn at_key(
        &self,
        at: Place,
        code: &'static str,
        path: &[&str],
        what: String,
        help: String,
    ) -> Box<SpecError> {
        let mut error = self.at(at, code, what);
        error.key = (!path.is_empty()).then(|| self.key(path));
        error.help = help;
        error
    }

    /// Returns an error at a place.
    pub(crate) fn at(&self, at: Place, code: &'static str, what: String) -> Box<SpecError> {
        let known = |number: usize| (number > 0).then_some(number);
        Box::new(SpecError {
            code,
            what,
            path: self.path.clone(),
            line: known(at.line),
            column: known(at.column),
            key: None,
            help: String::new(),
            text: (code != code::SECRET_VALUE).then(|| Excerpt(Arc::clone(&self.text))),
        })
    }

    /// Returns keys as people write them: `strategy.steps[2].percent`.
    fn key(&self, path: &[&str]) -> String {
        let mut text = String::new();
        let mut node = Some(&self.root);
        for part in path {
            if node.is_some_and(|node| matches!(node.value, Value::List(_))) {
                text.push_str(&format!("[{part}]"));
            } else {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(part);
            }
            node = node.and_then(|node| node.get(part));
        }
        text
    }

    /// Returns what the YAML reader found wrong.
    pub(super) fn yaml_error(&self, error: &Yaml) -> Box<SpecError> {
        let error = error.without_snippet();
        let at = error.location().map(Place::from).unwrap_or_default();
        let path = self.root.path_at(at);
        let (code, what, help, key) = describe(error);
        let mut found = self.at(at, code, what);
        found.help = help;
        let mut parts: Vec<&str> = path.iter().flatten().map(String::as_str).collect();
        if let Some(key) = &key
            && parts.last() != Some(&key.as_str())
        {
            parts.push(key);
        }
        found.key = (!parts.is_empty()).then(|| self.key(&parts));
        found
    }
}

/// Returns where a schema's error says that a key is missing, also inside what may be left out.
fn lacking(error: &ValidationError<'_>, field: &str) -> Option<String> {
    match error.kind() {
        ValidationErrorKind::Required { property } if property == field => {
            Some(error.instance_path().to_string())
        }
        ValidationErrorKind::AnyOf { context } => {
            let mut inside = context.iter().flatten();
            inside.find_map(|error| lacking(error, field))
        }
        _ => None,
    }
}

/// Reads a file of text within [`MAX_BYTES`].
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String, Box<SpecError>> {
    let unreadable = |why: String| {
        SpecError::of_file(
            code::UNREADABLE,
            path,
            format!("the {what} cannot be read: {why}"),
            "Check the path and the permissions.",
        )
    };
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => SpecError::of_file(
            code::UNREADABLE,
            path,
            format!("the {what} does not exist"),
            "Check the path; paths in a deployment file are relative to its folder.",
        ),
        _ => unreadable(error.to_string()),
    })?;
    if !meta.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    if meta.len() > MAX_BYTES {
        return Err(too_large(path, what, meta.len()));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large(path, what, bytes.len() as u64));
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(path, what, &error))?;
    if text.trim().is_empty() {
        return Err(SpecError::of_file(
            code::EMPTY,
            path,
            format!("the {what} is empty"),
            "Write the keys it needs; `code-deploy init` writes a commented deployment file.",
        ));
    }
    Ok(text)
}

fn too_large(path: &Path, what: &str, bytes: u64) -> Box<SpecError> {
    SpecError::of_file(
        code::TOO_LARGE,
        path,
        format!("the {what} has {bytes} bytes, more than the {MAX_BYTES} that are read"),
        "This is hardly the file that was meant: check the path.",
    )
}

fn not_utf8(path: &Path, what: &str, error: &std::string::FromUtf8Error) -> Box<SpecError> {
    let good = error.utf8_error().valid_up_to();
    let before = error.as_bytes().get(..good).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut found = SpecError::of_file(
        code::NOT_UTF8,
        path,
        format!("the {what} is not UTF-8: byte {good} does not belong to any character"),
        "Save it as UTF-8 without a byte order mark.",
    );
    found.line = Some(line);
    found
}

/// Returns how YAML is read: within limits that no real file reaches.
pub(super) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: 64,
            max_nodes: 100_000,
            max_events: 400_000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
    }
}

/// Returns code, what, help and key of an error of the YAML reader.
fn describe(error: &Yaml) -> (&'static str, String, String, Option<String>) {
    match error {
        Yaml::SerdeUnknownField {
            field, expected, ..
        } => {
            let what = format!("there is no key `{field}` here");
            let help = match nearest(field, expected.iter().copied()) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => format!("The keys here are {}.", or_list(expected.iter().copied())),
            };
            (code::UNKNOWN_KEY, what, help, Some(field.clone()))
        }
        Yaml::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            let what = format!("`{variant}` is not a value that this key takes");
            let list = or_list(expected.iter().copied());
            let help = match nearest(variant, expected.iter().copied()) {
                Some(near) => format!("Did you mean `{near}`? The values are {list}."),
                None => format!("The values are {list}."),
            };
            (code::WRONG_TYPE, what, help, None)
        }
        Yaml::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("a key");
            (
                code::SYNTAX,
                format!("`{key}` stands here a second time"),
                "Keep one of the two.".to_owned(),
                None,
            )
        }
        Yaml::AliasError { error, .. } => describe(error),
        Yaml::Budget { .. }
        | Yaml::AliasReplayLimitExceeded { .. }
        | Yaml::AliasExpansionLimitExceeded { .. }
        | Yaml::AliasReplayStackDepthExceeded { .. } => too_much(),
        Yaml::InvalidScalar { ty, .. } => needed(ty),
        Yaml::Unexpected { expected, .. } => needed(expected),
        Yaml::NullIntoString { .. } => needed("string"),
        other => describe_message(other),
    }
}

fn too_much() -> (&'static str, String, String, Option<String>) {
    (
        code::SYNTAX,
        "the file nests or repeats itself more than any real one does".to_owned(),
        "Write values out instead of repeating them by aliases (`*name`).".to_owned(),
        None,
    )
}

/// Returns the error of a value of the wrong type, in the words of the file and not the program's.
fn needed(expected: &str) -> (&'static str, String, String, Option<String>) {
    let (what, help) = match expected {
        "bool" | "boolean" => ("true or false", "Write true or false."),
        "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" => (
            "a whole number",
            "Write a whole number within its range, without quotes.",
        ),
        "f32" | "f64" => ("a number", "Write a number, such as 99.9."),
        list if list.contains("sequence") => ("a list", "Write `- item` lines, or [a, b]."),
        map if map.contains("mapping") => ("a mapping", "Write `key: value` lines below it."),
        _ => (
            "a text",
            "Write a text, in quotes if it looks like something else.",
        ),
    };
    let what = format!("{what} is needed here");
    (code::WRONG_TYPE, what, help.to_owned(), None)
}

fn describe_message(error: &Yaml) -> (&'static str, String, String, Option<String>) {
    let message = match error {
        Yaml::Message { msg, .. } => msg.clone(),
        other => strip_place(&other.to_string()),
    };
    if let Some((what, help)) = message.split_once(": write ")
        && what.ends_with("is not a length of time")
    {
        return (
            code::BAD_DURATION,
            what.to_owned(),
            format!("Write {help}."),
            None,
        );
    }
    if let Some((what, help)) = message.split_once(": ")
        && what.starts_with("a secret is a reference")
    {
        let help = format!("{}.", capital(help));
        return (code::SECRET_VALUE, what.to_owned(), help, None);
    }
    let typed = matches!(
        error,
        Yaml::Message { .. }
            | Yaml::SerdeInvalidType { .. }
            | Yaml::SerdeInvalidValue { .. }
            | Yaml::SerdeInvalidLength { .. }
            | Yaml::InvalidBooleanStrict { .. }
    );
    if message.contains("recursion limit") {
        return too_much();
    }
    if typed {
        let help = "Give the value the type that the key takes; `code-deploy schema` describes \
                    each.";
        return (code::WRONG_TYPE, message, help.to_owned(), None);
    }
    let help = "Check indentation, quotes and colons at this place.";
    (
        code::SYNTAX,
        format!("this is not YAML: {message}"),
        help.to_owned(),
        None,
    )
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// Takes the place out of a message: the error has it already.
fn strip_place(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    let text = message.get(..end).unwrap_or(message);
    text.strip_prefix("error: ").unwrap_or(text).to_owned()
}
