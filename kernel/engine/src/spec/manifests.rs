//! The user's own manifests of a Kubernetes cluster, each with the place of all that it says.

mod found;
mod program;
mod rendered;
mod secrets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

use super::document::{self, Document, read_text};
use super::error::{SpecError, code};
use super::model::KubernetesFile;
use super::nearest::did_you_mean;
use super::node::{Node, Place, Value};
use found::{Found, Kind, Source};
pub use rendered::Rendered;

/// The target that manifests are for.
const TARGET: &str = "k8s";

/// The most objects that all files together may hold.
const MAX_OBJECTS: usize = 200;

/// The most bytes that all files together may have: as many as one file.
const MAX_BYTES: u64 = document::MAX_BYTES;

/// An object that a manifest of the user states.
#[derive(Debug, Clone)]
pub struct UserManifest {
    /// The version of its API: `policy/v1`.
    pub api_version: String,
    /// Its kind: `PodDisruptionBudget`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, where it names one.
    pub namespace: Option<String>,
    /// All that it says.
    pub value: serde_json::Value,
    /// The same with the places, and with a path that is relative to the project.
    document: Document,
    /// The command line that made it, where it stands in no file of the user. Its path is then what it was made from.
    made_by: Option<Arc<str>>,
}

impl UserManifest {
    /// Returns the object in words: `PodDisruptionBudget api`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Returns the group of its API; the core has none.
    #[must_use]
    pub fn group(&self) -> &str {
        let parts = self.api_version.split_once('/');
        parts.map_or("", |(group, _)| group)
    }

    /// Returns where it begins: `k8s/api.yaml:12`. Of what was made, in which no person finds a line, it is what it was
    /// made from, with the object: `k8s/kustomization.yaml (PodDisruptionBudget api)`.
    #[must_use]
    pub fn place(&self) -> String {
        self.place_of(&[])
    }

    /// Returns where something of it stands, or as near to that as the file goes.
    #[must_use]
    pub fn place_of(&self, path: &[&str]) -> String {
        let found = self.document.error(code::MANIFEST, path, "", "");
        let file = self.document.path.display();
        if self.made_by.is_none() {
            let line = found.line.unwrap_or(self.document.root.at.line);
            return format!("{file}:{line}");
        }
        match found.key {
            Some(key) => format!("{file} ({}, {key})", self.title()),
            None => format!("{file} ({})", self.title()),
        }
    }
}

impl Serialize for UserManifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut named = serializer.serialize_struct("UserManifest", 4)?;
        named.serialize_field("place", &self.place())?;
        named.serialize_field("api_version", &self.api_version)?;
        named.serialize_field("kind", &self.kind)?;
        named.serialize_field("name", &self.name)?;
        named.end()
    }
}

/// The manifests of an environment.
#[derive(Default)]
pub(super) struct Manifests {
    pub(super) files: Vec<PathBuf>,
    pub(super) objects: Vec<UserManifest>,
    pub(super) rendered: Vec<Rendered>,
    bytes: u64,
}

/// What the manifests of an environment are read for.
pub(super) struct Reading<'a> {
    pub(super) deployment: &'a Document,
    pub(super) application: &'a str,
    pub(super) environment: &'a str,
    pub(super) target: &'a str,
    pub(super) wanted: &'a KubernetesFile,
    pub(super) project: &'a Path,
    /// The variables of the process.
    pub(super) vars: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads the manifests of an environment, and has those made that other programs make. Blocks.
pub(super) fn read(reading: &Reading<'_>) -> Result<Manifests, Box<SpecError>> {
    let mut read = Manifests::default();
    let mut charts = Vec::new();
    for (index, given) in reading.wanted.manifests.iter().enumerate() {
        let index = index.to_string();
        let error = |what: String, help: String| reading.error(&["manifests", &index], what, help);
        match found::of(given, reading.project, &error)? {
            Found::Files(files) => {
                for path in files {
                    let text = read_text(&path, "manifest")?;
                    read.take(reading.project, &path, text, None)?;
                    read.files.push(path);
                }
            }
            Found::Source(source) => {
                if source.kind == Kind::Chart {
                    charts.push(given.display().to_string());
                }
                read.make(reading, given, &source, &error)?;
            }
        }
    }
    of_charts(reading, &charts)?;
    stand_once(&read.objects)?;
    Ok(read)
}

impl Reading<'_> {
    /// Returns an error at something that the environment says of its cluster.
    fn error(&self, path: &[&str], what: String, help: String) -> Box<SpecError> {
        let keys = ["environments", self.environment, "kubernetes"];
        let keys: Vec<&str> = keys.iter().chain(path).copied().collect();
        self.deployment.error(code::MANIFEST, &keys, what, help)
    }

    /// Returns the files with the values of a chart, which are there.
    fn values_of(&self, given: &Path) -> Result<&[PathBuf], Box<SpecError>> {
        let mut all = self.wanted.chart_values.iter();
        let Some((chart, values)) = all.find(|(chart, _)| Path::new(chart) == given) else {
            return Ok(&[]);
        };
        for (index, file) in values.iter().enumerate() {
            if !self.project.join(file).is_file() {
                let what = format!("the file with values `{}` does not exist", file.display());
                let help = "Write the path of a file, relative to this file.".to_owned();
                let index = index.to_string();
                return Err(self.error(&["chart_values", chart, &index], what, help));
            }
        }
        Ok(values)
    }
}

impl Manifests {
    /// Returns what was read before.
    pub(super) fn as_before(objects: &[UserManifest], rendered: &[Rendered]) -> Self {
        Self {
            objects: objects.to_vec(),
            rendered: rendered.to_vec(),
            ..Self::default()
        }
    }

    /// Has the manifests made of a kustomization or a chart, where they are for the target.
    fn make(
        &mut self,
        reading: &Reading<'_>,
        given: &Path,
        source: &Source,
        error: &found::Failed<'_>,
    ) -> Result<(), Box<SpecError>> {
        let path = reading.project.join(&source.file);
        let values: &[PathBuf] = match source.kind {
            Kind::Chart => reading.values_of(given)?,
            Kind::Kustomization => &[],
        };
        self.files.push(path.clone());
        let values_there = values.iter().map(|file| reading.project.join(file));
        self.files.extend(values_there);
        if reading.target != TARGET {
            return Ok(());
        }
        let rendered = rendered::render(reading, source, values, error)?;
        let made_by: Arc<str> = Arc::from(rendered.command.as_str());
        let text = rendered.text.to_string();
        self.take(reading.project, &path, text, Some(&made_by))?;
        self.rendered.push(rendered);
        Ok(())
    }

    /// Takes the objects of a text with manifests. `path` is its file, or what it was made from.
    fn take(
        &mut self,
        project: &Path,
        path: &Path,
        text: String,
        made_by: Option<&Arc<str>>,
    ) -> Result<(), Box<SpecError>> {
        self.bytes += text.len() as u64;
        let documents = documents(path, text);
        let documents = documents.map_err(|error| in_what_was_made(error, made_by, None))?;
        for document in documents {
            add(&mut self.objects, document, project, made_by)?;
        }
        if self.bytes > MAX_BYTES || self.objects.len() > MAX_OBJECTS {
            return Err(too_much(path));
        }
        Ok(())
    }
}

/// Refuses values of a chart that is not named.
fn of_charts(reading: &Reading<'_>, charts: &[String]) -> Result<(), Box<SpecError>> {
    let known = |name: &String| charts.iter().any(|one| Path::new(one) == Path::new(name));
    let mut named = reading.wanted.chart_values.keys();
    let Some(name) = named.find(|name| !known(name)) else {
        return Ok(());
    };
    let what = format!("`manifests` names no chart `{name}`");
    let help = match charts.is_empty() {
        true => "Name the folder of the chart there, or take its values out.".to_owned(),
        false => did_you_mean(name, "charts", charts.iter().map(String::as_str)),
    };
    Err(reading.error(&["chart_values", name], what, help))
}

/// Returns an error of a text that a program made: a line of it is said in words, as no file of the user has it.
fn in_what_was_made(
    mut error: Box<SpecError>,
    made_by: Option<&Arc<str>>,
    title: Option<&str>,
) -> Box<SpecError> {
    let Some(command) = made_by else {
        return error;
    };
    let line = error.line.map(|line| format!("line {line} of "));
    let title = title.map(|title| format!(" ({title})"));
    error.what = format!(
        "{}what `{command}` makes{}: {}",
        line.unwrap_or_default(),
        title.unwrap_or_default(),
        error.what
    );
    (error.line, error.column, error.text) = (None, None, None);
    error
}

fn too_much(path: &Path) -> Box<SpecError> {
    SpecError::of_file(
        code::TOO_LARGE,
        path,
        format!(
            "with this file the manifests are more than {MAX_OBJECTS} objects or {MAX_BYTES} bytes"
        ),
        "Name only what belongs to this application; apply the rest by itself.",
    )
}

/// Returns the documents of a file; empty ones count for nothing.
fn documents(path: &Path, text: String) -> Result<Vec<Document>, Box<SpecError>> {
    let empty = Node {
        at: Place { line: 1, column: 1 },
        value: Value::Null,
    };
    let whole = Document {
        path: path.to_owned(),
        text: Arc::from(text),
        root: empty,
    };
    let mut options = document::options();
    // Other programs read manifests as YAML 1.1, where modes of files are written so.
    options.legacy_octal_numbers = true;
    if let Some(budget) = &mut options.budget {
        budget.max_documents = MAX_OBJECTS * 5;
    }
    let roots: Vec<Node> = serde_saphyr::from_multiple_with_options(&whole.text, options)
        .map_err(|error| template(whole.yaml_error(&error), &whole.text))?;
    let documents = roots.into_iter().map(|root| Document {
        root,
        ..whole.clone()
    });
    Ok(documents.collect())
}

/// What stands in braces is not YAML yet.
fn template(mut error: Box<SpecError>, text: &str) -> Box<SpecError> {
    if text.contains("{{") {
        error.help =
            "If this is a template of a chart: name the folder that has its `Chart.yaml`, \
                      and `helm template` makes plain manifests of it."
                .to_owned();
    }
    error
}

/// Adds the object of a document, or those of a list.
fn add(
    objects: &mut Vec<UserManifest>,
    document: Document,
    project: &Path,
    made_by: Option<&Arc<str>>,
) -> Result<(), Box<SpecError>> {
    let text = |keys: &[&str]| document.node(keys).and_then(Node::text);
    let is_list = text(&["kind"]).as_deref() == Some("List");
    let items = document.node(&["items"]).filter(|_| is_list);
    let Some(items) = items else {
        objects.push(object(document, project, made_by)?);
        return Ok(());
    };
    for item in items.items() {
        let of_item = Document {
            root: item.clone(),
            ..document.clone()
        };
        objects.push(object(of_item, project, made_by)?);
    }
    Ok(())
}

fn object(
    document: Document,
    project: &Path,
    made_by: Option<&Arc<str>>,
) -> Result<UserManifest, Box<SpecError>> {
    let title = title_of(&document);
    let read = stated(document, project, made_by.cloned());
    read.map_err(|error| in_what_was_made(error, made_by, title.as_deref()))
}

/// Returns what an object is called, as far as it says so.
fn title_of(document: &Document) -> Option<String> {
    let text = |keys: &[&str]| document.node(keys).and_then(Node::text);
    let said = [text(&["kind"]), text(&["metadata", "name"])];
    let said: Vec<String> = said.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(" "))
}

fn stated(
    mut document: Document,
    project: &Path,
    made_by: Option<Arc<str>>,
) -> Result<UserManifest, Box<SpecError>> {
    let text = |keys: &[&str]| match document.node(keys).map(|node| &node.value) {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text.clone()),
        _ => {
            let what = format!(
                "a manifest says `{}`, and this one does not",
                keys.join(".")
            );
            let help = "Write `apiVersion`, `kind` and `metadata.name` in each document.";
            Err(document.error(code::MANIFEST, keys, what, help))
        }
    };
    let (api_version, kind) = (text(&["apiVersion"])?, text(&["kind"])?);
    if let Some(help) = found::made_plain_by(&api_version, &kind) {
        let what = format!("a {kind} is no object of a cluster, but what manifests are made from");
        return Err(document.error(code::MANIFEST, &["kind"], what, help));
    }
    let name = text(&["metadata", "name"])?;
    let namespace = document.node(&["metadata", "namespace"]);
    let namespace = namespace.and_then(Node::text);
    secrets::check(&document, &kind)?;
    let relative = document.path.strip_prefix(project).map(Path::to_owned);
    if let Ok(relative) = relative {
        document.path = relative;
    }
    Ok(UserManifest {
        api_version,
        kind,
        name,
        namespace,
        value: document.root.json(),
        document,
        made_by,
    })
}

/// Refuses what is stated twice: which of the two holds would be a matter of order.
fn stand_once(objects: &[UserManifest]) -> Result<(), Box<SpecError>> {
    let mut seen: BTreeMap<(&str, &str, &str), &UserManifest> = BTreeMap::new();
    for one in objects {
        let key = (one.group(), one.kind.as_str(), one.name.as_str());
        if let Some(before) = seen.insert(key, one) {
            let what = format!("{} stands in {} already", one.title(), before.place());
            let keys = ["metadata", "name"];
            let help = "Keep one of the two.";
            let error = one.document.error(code::MANIFEST, &keys, what, help);
            let title = one.title();
            return Err(in_what_was_made(error, one.made_by.as_ref(), Some(&title)));
        }
    }
    Ok(())
}
