//! Requests, as the played server reads them.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::Value;

use super::NAMESPACE;

/// A request.
pub struct Asked {
    /// `GET`, or `WATCH` of one that goes on.
    pub method: String,
    pub path: String,
    /// The version of its API, `policy/v1`, or `v1` of the core.
    pub version: String,
    pub resource: String,
    pub name: Option<String>,
    pub part: Option<String>,
    /// Whether it is one of the namespace, or of what is in none.
    pub is_here: bool,
    pub query: BTreeMap<String, String>,
    pub body: Value,
}

impl Asked {
    pub fn of(method: &Method, path: &str, query: BTreeMap<String, String>, body: &[u8]) -> Self {
        let watches = query.get("watch").is_some_and(|watch| watch == "true");
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            rest => (String::new(), rest),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => (NAMESPACE, rest),
        };
        let word = |index: usize| rest.get(index).map(|word| (*word).to_owned());
        Self {
            method: if watches {
                "WATCH".to_owned()
            } else {
                method.to_string()
            },
            path: path.to_owned(),
            version,
            resource: word(0).unwrap_or_default(),
            name: word(1),
            part: word(2),
            is_here: namespace == NAMESPACE,
            query,
            body: serde_json::from_slice(body).unwrap_or_default(),
        }
    }

    pub fn what(&self) -> String {
        format!("{} {}", self.method, self.resource)
    }
}

/// Returns whether the selectors of a list take an object.
pub fn is_chosen(object: &Value, query: &BTreeMap<String, String>) -> bool {
    let label = |key: &str| {
        let label = object["metadata"]["labels"][key].as_str();
        label.unwrap_or_default().to_owned()
    };
    let labels = query.get("labelSelector").is_none_or(|selector| {
        if let Some((key, values)) = selector.split_once(" in (") {
            let mut values = values.trim_end_matches(')').split(',');
            return values.any(|value| value == label(key));
        }
        selector.split(',').all(|one| match one.split_once('=') {
            Some((key, value)) => label(key) == value,
            None => !label(one).is_empty(),
        })
    });
    let fields = query.get("fieldSelector").is_none_or(|selector| {
        selector.split(',').all(|one| {
            let (field, value) = one.split_once('=').unwrap();
            let pointer = format!("/{}", field.replace('.', "/"));
            object.pointer(&pointer).and_then(Value::as_str) == Some(value)
        })
    });
    labels && fields
}

/// Returns an object with a merge patch (RFC 7396) carried out.
pub fn merged(mut object: Value, patch: &Value) -> Value {
    let Some(changes) = patch.as_object() else {
        return patch.clone();
    };
    for (key, change) in changes {
        if change.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            object[key] = merged(object[key].take(), change);
        }
    }
    object
}
