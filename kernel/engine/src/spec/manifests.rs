//! The user's own manifests of a Kubernetes cluster, each with the place of all that it says.

mod found;
mod secrets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

use super::document::{self, Document, read_text};
use super::error::{SpecError, code};
use super::model::KubernetesFile;
use super::node::{Node, Place, Value};

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

    /// Returns where it begins: `k8s/api.yaml:12`.
    #[must_use]
    pub fn place(&self) -> String {
        self.placed(self.document.root.at)
    }

    /// Returns where something of it stands, or as near to that as the file goes.
    #[must_use]
    pub fn place_of(&self, path: &[&str]) -> String {
        let found = self.document.error(code::MANIFEST, path, "", "");
        self.placed(Place {
            line: found.line.unwrap_or(self.document.root.at.line),
            column: 1,
        })
    }

    fn placed(&self, at: Place) -> String {
        format!("{}:{}", self.document.path.display(), at.line)
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
pub(super) struct Manifests {
    pub(super) files: Vec<PathBuf>,
    pub(super) objects: Vec<UserManifest>,
}

/// Reads the manifests of an environment.
pub(super) fn read(
    deployment: &Document,
    environment: &str,
    wanted: &KubernetesFile,
    project: &Path,
) -> Result<Manifests, Box<SpecError>> {
    let mut read = Manifests {
        files: Vec::new(),
        objects: Vec::new(),
    };
    for (index, given) in wanted.manifests.iter().enumerate() {
        let index = index.to_string();
        let keys = [
            "environments",
            environment,
            "kubernetes",
            "manifests",
            &index,
        ];
        let error =
            |what: String, help: String| deployment.error(code::MANIFEST, &keys, what, help);
        read.files.extend(found::files(given, project, &error)?);
    }
    let mut bytes = 0;
    for path in &read.files {
        let text = read_text(path, "manifest")?;
        bytes += text.len() as u64;
        for document in documents(path, text)? {
            add(&mut read.objects, document, project)?;
        }
        if bytes > MAX_BYTES || read.objects.len() > MAX_OBJECTS {
            return Err(too_much(path));
        }
    }
    stand_once(&read.objects)?;
    Ok(read)
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
        error.help = "If this is a template of a chart: `helm template CHART > FILE` makes plain \
                      manifests of it."
            .to_owned();
    }
    error
}

/// Adds the object of a document, or those of a list.
fn add(
    objects: &mut Vec<UserManifest>,
    document: Document,
    project: &Path,
) -> Result<(), Box<SpecError>> {
    let text = |keys: &[&str]| document.node(keys).and_then(Node::text);
    let is_list = text(&["kind"]).as_deref() == Some("List");
    let items = document.node(&["items"]).filter(|_| is_list);
    let Some(items) = items else {
        objects.push(object(document, project)?);
        return Ok(());
    };
    for item in items.items() {
        let of_item = Document {
            root: item.clone(),
            ..document.clone()
        };
        objects.push(object(of_item, project)?);
    }
    Ok(())
}

fn object(mut document: Document, project: &Path) -> Result<UserManifest, Box<SpecError>> {
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
            return Err(one.document.error(code::MANIFEST, &keys, what, help));
        }
    }
    Ok(())
}
