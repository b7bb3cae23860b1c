//! The environment of a service: its variables, files of variables, and which are secret.

use std::path::{Path, PathBuf};

use super::super::document::read_text;
use super::super::error::{SpecError, code};
use super::super::model::SecretRef;
use super::super::node::{Node, Value};
use super::super::secrets::{gives_away, has_password, is_secret_name};
use super::service::Reader;
use super::{ComposeService, interpolate, units};

type Found<T> = Result<T, Box<SpecError>>;

impl Reader<'_> {
    pub(super) fn env_files(&mut self, service: &mut ComposeService) -> Found<()> {
        let Some(node) = self.node.get("env_file") else {
            return Ok(());
        };
        let single = std::slice::from_ref(node);
        let items = if node.items().is_empty() {
            single
        } else {
            node.items()
        };
        for item in items {
            let (file, required) = match item.text() {
                Some(text) => (text, true),
                None => {
                    let required = item.get("required").map(|node| node.value.clone());
                    let path = item.get("path").and_then(Node::text).unwrap_or_default();
                    (path, required != Some(Value::Bool(false)))
                }
            };
            let path = self.compose.document.path.with_file_name("").join(&file);
            service.env_files.push(PathBuf::from(file));
            if !required && !path.exists() {
                continue;
            }
            for line in env_file(&path)? {
                self.env_file_line(service, &path, line)?;
            }
            self.compose.files.push(path);
        }
        Ok(())
    }

    fn env_file_line(&self, service: &mut ComposeService, path: &Path, line: EnvLine) -> Found<()> {
        let Some(raw) = line.value else {
            self.pass_on(service, &line.name);
            return Ok(());
        };
        if let Some(variable) = secret_reference(&line.name, &raw, "") {
            let reference = SecretRef::Env(variable.to_owned());
            service.secret_variables.insert(line.name, reference);
            return Ok(());
        }
        let value = interpolate::interpolate(&raw, self.vars).map_or(raw, |found| found.text);
        if gives_away(&line.name, &value) {
            let mut error = secret_value(&line.name, self.name, path);
            error.line = Some(line.line);
            return Err(error);
        }
        service.environment.insert(line.name, value);
        Ok(())
    }

    /// Takes a variable over from where the program is started.
    fn pass_on(&self, service: &mut ComposeService, name: &str) {
        if is_secret_name(name) {
            let reference = SecretRef::Env(name.to_owned());
            service.secret_variables.insert(name.to_owned(), reference);
            return;
        }
        match (self.vars)(name) {
            Some(value) if has_password(&value) => {
                let reference = SecretRef::Env(name.to_owned());
                service.secret_variables.insert(name.to_owned(), reference);
            }
            Some(value) => {
                service.environment.insert(name.to_owned(), value);
            }
            None => {}
        }
    }

    pub(super) fn environment(&self, service: &mut ComposeService) -> Found<()> {
        let Some(node) = self.node.get("environment") else {
            return Ok(());
        };
        let raw = |key: &str| {
            let path = ["services", self.name, "environment", key];
            self.compose
                .document
                .node(&path)
                .and_then(Node::text)
                .unwrap_or_default()
        };
        let mut pairs: Vec<(String, String, Option<String>, String)> = Vec::new();
        for entry in node.entries() {
            let key = entry.key.clone();
            pairs.push((key.clone(), key.clone(), entry.node.text(), raw(&key)));
        }
        for (index, item) in node.items().iter().enumerate() {
            let text = item.text().unwrap_or_default();
            let whole = raw(&index.to_string());
            let before = whole
                .split_once('=')
                .map_or("", |(_, value)| value)
                .to_owned();
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (text, None),
            };
            pairs.push((index.to_string(), name, value, before));
        }
        for (key, name, value, raw) in pairs {
            let Some(value) = value else {
                self.pass_on(service, &name);
                continue;
            };
            if let Some(variable) = secret_reference(&name, &raw, &value) {
                let reference = SecretRef::Env(variable.to_owned());
                service.environment.remove(&name);
                service.secret_variables.insert(name, reference);
            } else if gives_away(&name, &value) {
                let file = &self.compose.document.path;
                let found = secret_value(&name, self.name, file);
                let path = ["environment", key.as_str()];
                return Err(self.error(found.code, &path, found.what, found.help));
            } else {
                service.secret_variables.remove(&name);
                service.environment.insert(name, value);
            }
        }
        Ok(())
    }
}

/// Returns the variable that a secret comes from, when nothing else stands in the value.
fn secret_reference<'a>(name: &str, raw: &'a str, value: &str) -> Option<&'a str> {
    let variable = interpolate::sole_variable(raw)?;
    let secret = is_secret_name(name) || is_secret_name(variable) || has_password(value);
    secret.then_some(variable)
}

fn secret_value(name: &str, service: &str, path: &Path) -> Box<SpecError> {
    SpecError::of_file(
        code::SECRET_VALUE,
        path,
        format!("`{name}` of `{service}` holds a secret in plain text"),
        format!(
            "Take the value out. Write `{name}: ${{{name}}}` and set it where the program is \
             started, or name it in deploy.yaml under `services.{service}.process.secrets`: \
             `{name}: env:{name}` or `{name}: file:PATH`."
        ),
    )
}

/// A line of an environment file.
pub(super) struct EnvLine {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: Option<String>,
}

/// Reads an environment file.
pub(super) fn env_file(path: &Path) -> Found<Vec<EnvLine>> {
    let empty = std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0);
    if empty {
        return Ok(Vec::new());
    }
    let text = read_text(path, "environment file")?;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match units::env_line(line) {
            Ok(Some((name, value))) => lines.push(EnvLine {
                line: index + 1,
                name: name.to_owned(),
                value,
            }),
            Ok(None) => {}
            Err(()) => {
                let mut error = SpecError::of_file(
                    code::COMPOSE,
                    path,
                    "this line of the environment file is not `NAME=value`",
                    "Write NAME=value; comments begin with #.",
                );
                error.line = Some(index + 1);
                return Err(error);
            }
        }
    }
    Ok(lines)
}
