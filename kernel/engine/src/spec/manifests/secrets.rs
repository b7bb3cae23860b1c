//! Values of manifests that are secret: files hold none, and so do records.

use super::super::document::Document;
use super::super::error::{SpecError, code};
use super::super::node::{Node, Value};
use super::super::secrets::gives_away;

const REFERENCE: &str = "Name it in the Compose file, as a variable `NAME: ${NAME}` or under `secrets:`: pods then get \
                         it from a Secret that a run makes. Or refer to a Secret that is there (`secretKeyRef`).";

/// Refuses a document with a secret in plain text.
pub(super) fn check(document: &Document, kind: &str) -> Result<(), Box<SpecError>> {
    if kind == "Secret" {
        for key in ["data", "stringData"] {
            let values = document.node(&[key]).map(Node::entries);
            if values.is_some_and(|values| !values.is_empty()) {
                return Err(found(
                    document,
                    &[key],
                    "a Secret has its values in the file",
                ));
            }
        }
    }
    if kind == "ConfigMap" {
        for entry in document.node(&["data"]).map_or(&[][..], Node::entries) {
            let value = entry.node.text().unwrap_or_default();
            if gives_away(&entry.key, &value) {
                return Err(plain(document, &entry.key, &["data", &entry.key]));
            }
        }
    }
    variables(document, &document.root, &mut Vec::new())
}

/// Looks for variables of containers, which are pairs of `name` and `value` wherever they stand.
fn variables(
    document: &Document,
    node: &Node,
    path: &mut Vec<String>,
) -> Result<(), Box<SpecError>> {
    let text = |key: &str| node.get(key).and_then(Node::text);
    if let (Value::Map(_), Some(name), Some(value)) = (&node.value, text("name"), text("value"))
        && gives_away(&name, &value)
    {
        let keys: Vec<&str> = path.iter().map(String::as_str).chain(["value"]).collect();
        return Err(plain(document, &name, &keys));
    }
    let entries = node.entries().iter();
    let entries = entries.map(|entry| (entry.key.clone(), &entry.node));
    let items = node.items().iter().enumerate();
    let items = items.map(|(index, item)| (index.to_string(), item));
    for (part, below) in entries.chain(items) {
        path.push(part);
        variables(document, below, path)?;
        path.pop();
    }
    Ok(())
}

fn plain(document: &Document, name: &str, keys: &[&str]) -> Box<SpecError> {
    let what = format!("`{name}` holds a secret in plain text");
    found(document, keys, &what)
}

fn found(document: &Document, keys: &[&str], what: &str) -> Box<SpecError> {
    document.error(code::SECRET_VALUE, keys, what, REFERENCE)
}
