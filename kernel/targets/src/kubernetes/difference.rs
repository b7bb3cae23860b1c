//! What of an object differs from another one, field by field. Nothing here asks the cluster.
//!
//! Items of lists are compared by the key by which the cluster knows them, values that nobody is to see only by
//! whether they are the same.

use std::collections::{BTreeMap, BTreeSet};

use code_deploy_engine::spec::gives_away;
use code_deploy_engine::target::FieldChange;
use code_deploy_record::Redactor;
use serde_json::{Map, Value};

use super::{merge, names};

/// The longest value that is shown, in characters.
const LONGEST: usize = 100;

/// How much of what two long values have in common is shown before they differ, in characters.
const COMMON: usize = 20;

/// What stands for a value that nobody is to see.
const HIDDEN: &str = "(not shown)";

/// The same, where it is another one than before.
const HIDDEN_OTHER: &str = "(not shown, another one)";

/// What the server writes of its own accord, and what of annotations changes with each run and says nothing of the object.
const LEFT_OUT: &[&str] = &[
    "status",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.uid",
    "metadata.selfLink",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.annotations[deployment.kubernetes.io/revision]",
    "metadata.annotations[kubectl.kubernetes.io/last-applied-configuration]",
];

/// What the cluster gives each object anew: two objects never have it in common.
const GIVEN: &[&str] = &[
    "spec.clusterIP",
    "spec.clusterIPs",
    "spec.healthCheckNodePort",
];

/// Mappings of names that are told name by name also where one side has none of them.
const OPENED: &[&str] = &[
    "annotations",
    "binaryData",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
    "selector",
    "stringData",
];

/// Where an object that hides values has them.
pub const VALUES: &[&str] = &["data", "stringData", "binaryData"];

/// Mappings whose values belong to names that somebody chose.
const NAMED: &[&str] = &["annotations", "data"];

/// Lists whose items the cluster knows by their names, beside those that are merged for pods.
const BY_NAME: &[&str] = &["backendRefs", "parentRefs"];

/// How two objects are compared.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Whether nobody is to see the object's values.
    pub hides: bool,
    /// What names an object and its release on each side. A field that differs by no more than that says nothing new;
    /// none where an object is compared with itself.
    pub named: &'a [(String, String)],
    pub redactor: &'a Redactor,
}

/// Returns the fields that differ, in the order of their paths.
pub fn differences(before: &Value, after: &Value, rules: Rules<'_>) -> Vec<FieldChange> {
    let mut differ = Differ {
        rules,
        found: Vec::new(),
    };
    differ.values("", Some(before), Some(after), false);
    differ.found
}

struct Differ<'a> {
    rules: Rules<'a>,
    found: Vec<FieldChange>,
}

impl Differ<'_> {
    fn values(&mut self, path: &str, before: Option<&Value>, after: Option<&Value>, hidden: bool) {
        let before = before.filter(|value| !value.is_null());
        let after = after.filter(|value| !value.is_null());
        if before == after || self.is_left_out(path) {
            return;
        }
        let empty = Map::new();
        let opened = OPENED.contains(&last_of(path));
        match (before, after) {
            (Some(Value::Object(was)), Some(Value::Object(is))) => {
                self.mappings(path, was, is, hidden);
            }
            (Some(Value::Object(was)), None) if opened => self.mappings(path, was, &empty, hidden),
            (None, Some(Value::Object(is))) if opened => self.mappings(path, &empty, is, hidden),
            (Some(Value::Array(was)), Some(Value::Array(is))) => {
                self.lists(path, was, is, hidden);
            }
            _ => self.differs(path, before, after, hidden),
        }
    }

    fn is_left_out(&self, path: &str) -> bool {
        let run = format!("metadata.annotations[{}]", names::RUN);
        let two = !self.rules.named.is_empty();
        LEFT_OUT.contains(&path)
            || path == run
            || (two && (GIVEN.contains(&path) || path.ends_with(".nodePort")))
    }

    fn mappings(
        &mut self,
        path: &str,
        was: &Map<String, Value>,
        is: &Map<String, Value>,
        hidden: bool,
    ) {
        let at_top = path.is_empty() && self.rules.hides;
        let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        for key in keys {
            let below = below(path, key);
            let values = at_top && VALUES.contains(&key.as_str());
            let (before, after) = (was.get(key), is.get(key));
            let hidden =
                hidden || values || tells_secret(path, was, key) || tells_secret(path, is, key);
            self.values(&below, before, after, hidden);
        }
    }

    fn lists(&mut self, path: &str, was: &[Value], is: &[Value], hidden: bool) {
        let list = last_of(path);
        if let (Some(was), Some(is)) = (by_key(list, was), by_key(list, is)) {
            let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            for key in keys {
                let (before, after) = (was.get(key).copied(), is.get(key).copied());
                self.values(&format!("{path}[{key}]"), before, after, hidden);
            }
            return;
        }
        let are_objects = was.iter().chain(is).all(Value::is_object);
        if are_objects && was.len() == is.len() {
            for (index, (before, after)) in was.iter().zip(is).enumerate() {
                self.values(
                    &format!("{path}[{index}]"),
                    Some(before),
                    Some(after),
                    hidden,
                );
            }
            return;
        }
        let (was, is) = (Value::from(was.to_vec()), Value::from(is.to_vec()));
        self.differs(path, Some(&was), Some(&is), hidden);
    }

    fn differs(&mut self, path: &str, before: Option<&Value>, after: Option<&Value>, hidden: bool) {
        if let (Some(Value::String(was)), Some(Value::String(is))) = (before, after) {
            let mut named = self.rules.named.iter();
            if named.any(|(old, new)| old == was && new == is) {
                return;
            }
        }
        let (before, after) =
            match hidden || before.is_some_and(is_secret) || after.is_some_and(is_secret) {
                true => (
                    before.map(|_| HIDDEN.to_owned()),
                    after.map(|_| match before {
                        Some(_) => HIDDEN_OTHER.to_owned(),
                        None => HIDDEN.to_owned(),
                    }),
                ),
                false => shortened(self.text(before), self.text(after)),
            };
        self.found.push(FieldChange {
            path: self.rules.redactor.clean(path),
            before,
            after,
        });
    }

    /// Returns a value as it is shown, whole: what is secret is looked for before anything is cut.
    fn text(&self, value: Option<&Value>) -> Option<String> {
        let text = shown(value?);
        Some(self.rules.redactor.clean(&text))
    }
}

/// Returns whether the value of a key is a secret, by the name to which it belongs: that of a variable, or its key.
fn tells_secret(path: &str, fields: &Map<String, Value>, key: &str) -> bool {
    let Some(value) = fields.get(key).and_then(Value::as_str) else {
        return false;
    };
    let name = match key {
        "value" => fields
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default(),
        _ if NAMED.contains(&last_of(path)) => key,
        _ => return false,
    };
    gives_away(name, value)
}

fn is_secret(value: &Value) -> bool {
    value.as_str().is_some_and(|text| gives_away("", text))
}

/// Returns the name of the field at the end of a path.
fn last_of(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn below(path: &str, key: &str) -> String {
    if key.contains(['.', '/', '[']) {
        return format!("{path}[{key}]");
    }
    match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}.{key}"),
    }
}

/// Returns the items of a list by the key by which the cluster knows them; nothing where it knows them by none, or two
/// have the same.
fn by_key<'a>(list: &str, items: &'a [Value]) -> Option<BTreeMap<String, &'a Value>> {
    let key = merge::key_of(list).or(BY_NAME.contains(&list).then_some("name"))?;
    let mut known = BTreeMap::new();
    for item in items {
        let fields = item.as_object()?;
        // Ports of a Service have another key than those of a container.
        let by = fields.get(key).or_else(|| fields.get("port"))?;
        let mut name = by.as_str().map_or_else(|| by.to_string(), str::to_owned);
        let protocol = fields.get("protocol").and_then(Value::as_str);
        if let Some(other) = protocol.filter(|protocol| *protocol != "TCP") {
            name.push_str(&format!("/{other}"));
        }
        if known.insert(name, item).is_some() {
            return None;
        }
    }
    Some(known)
}

/// Returns a value in one line. A variable is its value.
fn shown(value: &Value) -> String {
    match masked(value) {
        Value::String(text) if !text.is_empty() && !text.contains(char::is_control) => text,
        Value::Object(fields) => match (fields.len(), fields.get("name"), fields.get("value")) {
            (2, Some(_), Some(value)) => shown(value),
            _ => Value::Object(fields).to_string(),
        },
        other => other.to_string(),
    }
}

/// Returns a value in which what gives away a secret is not shown.
fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let masked = fields.iter().map(|(key, value)| {
                let value = match tells_secret("", fields, key) {
                    true => HIDDEN.into(),
                    false => masked(value),
                };
                (key.clone(), value)
            });
            Value::Object(masked.collect())
        }
        Value::Array(items) => items.iter().map(masked).collect(),
        value if is_secret(value) => HIDDEN.into(),
        other => other.clone(),
    }
}

/// Cuts two values to what is shown of them: of what is long, the part in which they differ.
fn shortened(before: Option<String>, after: Option<String>) -> (Option<String>, Option<String>) {
    let common = match (&before, &after) {
        (Some(was), Some(is)) => {
            let pairs = was.chars().zip(is.chars());
            pairs.take_while(|(was, is)| was == is).count()
        }
        _ => 0,
    };
    let from = common.saturating_sub(COMMON);
    let cut = |text: String| short(&text, from);
    (before.map(cut), after.map(cut))
}

fn short(text: &str, from: usize) -> String {
    let length = text.chars().count();
    if length <= LONGEST {
        return text.to_owned();
    }
    let part: String = text.chars().skip(from).take(LONGEST).collect();
    let (begin, end) = (from > 0, from + LONGEST < length);
    let dots = |is_cut: bool| if is_cut { "..." } else { "" };
    format!("{}{part}{}", dots(begin), dots(end))
}

/// Returns in few words what a new object has in it.
pub fn summary(kind: &str, object: &Value, hides: bool) -> String {
    let text = match kind {
        "Deployment" => of_deployment(object),
        "Service" => of_service(object),
        "ConfigMap" | "Secret" => of_values(object, hides),
        _ => of_spec(object),
    };
    short(&text, 0)
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = object.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn of_deployment(object: &Value) -> String {
    let pods = object.pointer("/spec/replicas").and_then(Value::as_u64);
    let containers = items(object, "/spec/template/spec/containers").map(|one| {
        let text = |key: &str| one.get(key).map(shown).unwrap_or_default();
        let variables = items(one, "/env").count();
        format!(
            "{}: {}, variables: {variables}",
            text("name"),
            text("image")
        )
    });
    let containers: Vec<String> = containers.collect();
    format!("pods: {}; {}", pods.unwrap_or(1), containers.join("; "))
}

fn of_service(object: &Value) -> String {
    let ports = items(object, "/spec/ports").filter_map(|one| one.get("port"));
    let ports: Vec<String> = ports.map(shown).collect();
    let kind = object.pointer("/spec/type").map(shown).unwrap_or_default();
    format!("{kind}, ports {}", ports.join(", "))
}

fn of_values(object: &Value, hides: bool) -> String {
    let maps = ["data", "binaryData"].map(|key| object.get(key).and_then(Value::as_object));
    let keys = maps.into_iter().flatten().flat_map(Map::keys);
    let keys: Vec<&str> = keys.map(String::as_str).collect();
    let note = if hides { "; values are not shown" } else { "" };
    format!("keys {}{note}", keys.join(", "))
}

fn of_spec(object: &Value) -> String {
    match object.get("spec").and_then(Value::as_object) {
        Some(spec) => {
            let keys: Vec<&str> = spec.keys().map(String::as_str).collect();
            format!("says of its spec: {}", keys.join(", "))
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
