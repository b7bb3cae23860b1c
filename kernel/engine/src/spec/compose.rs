//! The Compose file: which services there are, and what of it no target or not the local one
//! honours.

mod depends;
mod environment;
mod features;
mod image;
mod interpolate;
mod keys;
mod ports;
mod service;
mod typed;
mod units;

pub(crate) use image::is_unpinned;
pub(crate) use ports::{Clash, settle as settle_ports};
pub use units::bytes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use code_deploy_record::Severity;
use serde::Serialize;

use super::document::Document;
use super::error::{SpecError, code};
use super::health::HealthCheck;
use super::model::{Restart, SecretRef};
use super::nearest::{did_you_mean, nearest, or_list};
use super::node::{Node, Place, Value};
use crate::duration::Span;

/// What a Compose file says, as far as it is not in [`super::Service`] already.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ComposeFacts {
    /// The file.
    pub path: PathBuf,
    /// The project's name, if it gives one.
    pub name: Option<String>,
    /// Its services by name.
    pub services: BTreeMap<String, ComposeService>,
    /// What of it not every target honours.
    pub features: Vec<Feature>,
    /// The names of its named volumes.
    pub volumes: Vec<String>,
    /// The document without its services, variables replaced: what it says of networks, volumes,
    /// secrets and configurations.
    #[serde(skip)]
    pub whole: serde_json::Value,
}

/// A service of a Compose file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ComposeService {
    /// The line on which it begins.
    pub line: usize,
    /// The image, variables replaced.
    pub image: Option<String>,
    /// The same with `{release}` where `CODE_DEPLOY_RELEASE` stands.
    #[serde(skip)]
    pub image_by_release: Option<String>,
    /// The line on which the image is named; 0 where none is.
    #[serde(skip)]
    pub image_line: usize,
    /// The services it depends on.
    pub depends_on: Vec<String>,
    /// The ports inside its network, those published first.
    pub ports: Vec<u16>,
    /// Ports of the machine by the port inside.
    pub published: BTreeMap<u16, u16>,
    /// The wanted number of instances.
    pub replicas: Option<u32>,
    /// Its environment, variables replaced, without anything secret.
    pub environment: BTreeMap<String, String>,
    /// Variables whose value is secret and comes from where the program is started.
    pub secret_variables: BTreeMap<String, SecretRef>,
    /// The files its environment also comes from, relative to the Compose file.
    pub env_files: Vec<PathBuf>,
    /// Names of the secrets it mounts.
    pub secrets: Vec<String>,
    /// Names of the configurations it mounts.
    pub configs: Vec<String>,
    /// Its volumes, as written.
    pub volumes: Vec<String>,
    /// The URL that its health check asks, if it asks one.
    pub health_url: Option<String>,
    /// What it says of its health check.
    #[serde(skip)]
    pub health: HealthCheck,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is built here.
    pub build: bool,
    /// What happens when an instance ends; nothing when not given.
    #[serde(skip)]
    pub restart: Option<Restart>,
    /// How long an instance may take to end when asked.
    pub stop_grace: Option<Span>,
    /// The most memory, in bytes.
    pub memory_limit: Option<u64>,
    /// The most processors.
    pub processor_limit: Option<f64>,
    /// All its keys but the environment, variables replaced, for targets that run containers.
    #[serde(skip)]
    pub keys: serde_json::Value,
}

/// Something of a Compose file that not every target honours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Feature {
    /// The service.
    pub service: String,
    /// The key: `deploy.resources.limits`.
    pub key: String,
    /// The line.
    pub line: usize,
    /// How serious it is that the local target does not honour it; nothing when no target does,
    /// which then only is noted.
    pub local: Option<Severity>,
    /// What that means.
    pub why: String,
}

impl ComposeFacts {
    /// Reads a Compose file by itself.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(
        path: &Path,
        vars: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Box<SpecError>> {
        Compose::read(path, vars).map(|compose| compose.facts)
    }
}

/// A Compose file, read.
pub(crate) struct Compose {
    pub(crate) facts: ComposeFacts,
    pub(crate) document: Document,
    pub(crate) notes: Vec<String>,
    /// Files that were read besides the Compose file.
    pub(crate) files: Vec<PathBuf>,
    /// Services that only belong to profiles.
    pub(crate) profiled: BTreeSet<String>,
    /// Entries of `ports` that ask for the same ports of the machine.
    pub(crate) clashes: Vec<Clash>,
}

impl Compose {
    /// Reads a Compose file and replaces its variables.
    pub(crate) fn read(
        path: &Path,
        vars: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Box<SpecError>> {
        let document = Document::read(path, "Compose file")?;
        let mut files = Vec::new();
        let dot_env = dot_env(path, &mut files)?;
        let lookup = |name: &str| vars(name).or_else(|| dot_env.get(name).cloned());
        let mut compose = Self {
            facts: ComposeFacts {
                path: path.to_owned(),
                ..ComposeFacts::default()
            },
            document,
            notes: Vec::new(),
            files,
            profiled: BTreeSet::new(),
            clashes: Vec::new(),
        };
        let root = compose.interpolated(&lookup)?;
        compose.check_top()?;
        compose.facts.name = root.get("name").and_then(Node::text);
        compose.facts.whole = without(&root, "services");
        compose.facts.volumes = root.get("volumes").map(keys_of).unwrap_or_default();
        let services = root.get("services").cloned();
        for entry in services.iter().flat_map(Node::entries) {
            let found = service::read(&mut compose, &entry.key, &entry.node, &lookup)?;
            if let Some(mut found) = found {
                found.line = entry.at.line;
                compose.facts.services.insert(entry.key.clone(), found);
            }
        }
        depends::settle_optional(&mut compose, &root);
        compose.check_services(&root)?;
        compose.clashes = ports::clashes(&compose, &root);
        Ok(compose)
    }

    /// Returns an error of a service's key.
    pub(super) fn error(
        &self,
        code: &'static str,
        path: &[&str],
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Box<SpecError> {
        self.document.error(code, path, what, help)
    }

    pub(super) fn note(&mut self, line: usize, text: &str) {
        let name = self.document.path.file_name().unwrap_or_default();
        let note = format!("{}:{line}: {text}", name.to_string_lossy());
        self.notes.push(note);
    }

    fn check_top(&mut self) -> Result<(), Box<SpecError>> {
        let entries = self.document.root.entries().to_vec();
        for entry in &entries {
            let key = entry.key.as_str();
            match key {
                "include" | "models" => {
                    return Err(self.error(
                        code::NOT_HONOURED,
                        &[key],
                        format!("`{key}` is not supported: what it brings would be left out"),
                        "Write the services into this file: `docker compose config` prints it \
                         with everything included.",
                    ));
                }
                _ if keys::TOP.contains(&key) || key.starts_with("x-") => {}
                _ => {
                    let help = did_you_mean(key, "keys here", keys::TOP.iter().copied());
                    let what = format!("the Compose specification has no key `{key}`");
                    let error = self
                        .document
                        .error_at_key(code::UNKNOWN_KEY, &[key], what, help);
                    return Err(error);
                }
            }
        }
        match self.document.node(&["services"]) {
            Some(node) if !node.entries().is_empty() => Ok(()),
            _ => Err(self.error(
                code::COMPOSE,
                &["services"],
                "the Compose file has no services",
                "Write the services under `services:`.",
            )),
        }
    }

    fn check_services(&self, root: &Node) -> Result<(), Box<SpecError>> {
        for (name, service) in &self.facts.services {
            for needed in &service.depends_on {
                if self.facts.services.contains_key(needed) {
                    continue;
                }
                let what = format!("`{name}` depends on `{needed}`, which is no service here");
                let names = self.facts.services.keys().map(String::as_str);
                let help = did_you_mean(needed, "services", names);
                let mut path = vec!["services", name.as_str(), "depends_on"];
                let node = root.get("services").and_then(|all| all.get(name));
                let list = node.and_then(|node| node.get("depends_on"));
                let index = list
                    .and_then(|list| {
                        let mut items = list.items().iter();
                        items.position(|item| item.text().as_ref() == Some(needed))
                    })
                    .map(|index| index.to_string());
                path.push(index.as_deref().unwrap_or(needed));
                let error = self
                    .document
                    .error_at_key(code::UNKNOWN_SERVICE, &path, what, help);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Returns the document with its variables replaced.
    fn interpolated(
        &mut self,
        vars: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Node, Box<SpecError>> {
        let mut root = self.document.root.clone();
        let mut unset = Vec::new();
        replace_all(&mut root, vars, &mut unset).map_err(|(at, fault)| self.fault(at, fault))?;
        for (at, name) in unset {
            let text = format!("the variable `{name}` is not set and counts as empty");
            self.note(at.line, &text);
        }
        Ok(root)
    }

    fn fault(&self, at: Place, fault: interpolate::Fault) -> Box<SpecError> {
        let (what, help) = match fault {
            interpolate::Fault::Required { name, message } => {
                let message = if message.is_empty() {
                    String::new()
                } else {
                    format!(": {message}")
                };
                (
                    format!("the variable `{name}` must be set{message}"),
                    format!(
                        "Set it where the program is started, or under \
                         `environments.NAME.variables.{name}` of the deployment file."
                    ),
                )
            }
            interpolate::Fault::Form { text } => (
                format!("`{text}` is not a variable"),
                "Write ${NAME}, ${NAME:-default} or ${NAME:?message}; a dollar sign itself is $$."
                    .to_owned(),
            ),
        };
        let mut error = self.document.at(at, code::VARIABLE, what);
        error.help = help;
        let path = self.document.root.path_at(at);
        error.key = path.map(|path| path.join("."));
        error
    }
}

/// Returns the error of a service's key that the specification does not know.
fn unknown_key(compose: &Compose, service: &str, key: &str) -> Box<SpecError> {
    let known = || keys::KEYS.iter().map(|(key, _)| *key);
    let help = match nearest(key, known()) {
        Some(near) => format!("Did you mean `{near}`? Extensions begin with `x-`."),
        None => format!(
            "Take it out or begin it with `x-`. The usual keys are {}.",
            or_list(
                [
                    "image",
                    "command",
                    "environment",
                    "ports",
                    "depends_on",
                    "deploy"
                ]
                .into_iter()
            )
        ),
    };
    let what = format!("the Compose specification has no key `{key}` for a service");
    let path = ["services", service, key];
    compose
        .document
        .error_at_key(code::UNKNOWN_KEY, &path, what, help)
}

/// Returns a mapping as JSON, one key left out.
fn without(node: &Node, left_out: &str) -> serde_json::Value {
    let mut json = node.json();
    if let Some(keys) = json.as_object_mut() {
        keys.remove(left_out);
    }
    json
}

fn keys_of(node: &Node) -> Vec<String> {
    node.entries()
        .iter()
        .map(|entry| entry.key.clone())
        .collect()
}

/// Reads the `.env` beside a Compose file, if there is one.
fn dot_env(
    compose: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<BTreeMap<String, String>, Box<SpecError>> {
    let path = compose.with_file_name(".env");
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let found = environment::env_file(&path)?;
    files.push(path);
    Ok(found
        .into_iter()
        .filter_map(|line| Some((line.name, line.value?)))
        .collect())
}

type Replaced = Result<(), (Place, interpolate::Fault)>;

fn replace_all(
    node: &mut Node,
    vars: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<(Place, String)>,
) -> Replaced {
    let at = node.at;
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            let found = interpolate::interpolate(text, vars).map_err(|fault| (at, fault))?;
            unset.extend(found.unset.into_iter().map(|name| (at, name)));
            node.value = match found.text.parse::<i64>() {
                Ok(number) if number.to_string() == found.text => Value::Int(number),
                _ => Value::Text(found.text),
            };
        }
        Value::List(items) => {
            for item in items {
                replace_all(item, vars, unset)?;
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                replace_all(&mut entry.node, vars, unset)?;
            }
        }
        _ => {}
    }
    Ok(())
}
