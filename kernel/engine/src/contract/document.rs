//! An OpenAPI document, as far as requests are made from it and answers compared with it.

use serde_json::{Map, Value, json};

use super::METHODS;

/// How many references are followed one after the other; more are a circle.
const DEPTH: usize = 16;

/// An OpenAPI 3 document.
pub(super) struct Document(Value);

/// One operation of a document.
pub(super) struct Operation<'a> {
    pub method: &'static str,
    pub path: &'a str,
    /// The parameters of the path item and of the operation; a later one replaces an earlier one.
    pub parameters: Vec<&'a Value>,
    pub content: &'a Value,
}

impl Document {
    pub(super) fn new(json: Value) -> Self {
        Self(json)
    }

    pub(super) fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        let paths = self.0.get("paths").and_then(Value::as_object);
        for (path, item) in paths.into_iter().flatten() {
            let item = self.resolved(item);
            for method in METHODS {
                let Some(content) = item.get(method) else {
                    continue;
                };
                let both = [item.get("parameters"), content.get("parameters")];
                let parameters = both
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_array)
                    .flatten();
                let parameters = parameters
                    .map(|parameter| self.resolved(parameter))
                    .collect();
                operations.push(Operation {
                    method,
                    path,
                    parameters,
                    content,
                });
            }
        }
        operations
    }

    /// Follows references inside the document. One that leads nowhere gives null.
    pub(super) fn resolved<'a>(&'a self, mut value: &'a Value) -> &'a Value {
        for _ in 0..DEPTH {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
                return value;
            };
            let pointer = reference.strip_prefix('#').unwrap_or("/-");
            value = self.0.pointer(pointer).unwrap_or(&Value::Null);
        }
        &Value::Null
    }

    /// Returns what is wrong with an instance by a schema of this document.
    pub(super) fn mismatches(&self, schema: &Value, instance: &Value) -> Vec<String> {
        // References point into the whole document, so the schema is put into a copy of its
        // components.
        let components = self
            .0
            .get("components")
            .cloned()
            .unwrap_or_else(|| json!({}));
        let whole = json!({ "allOf": [schema], "components": components });
        match jsonschema::validator_for(&whole) {
            Ok(validator) => {
                let errors = validator.iter_errors(instance).take(3);
                errors
                    .map(|error| format!("{}: {error}", error.instance_path()))
                    .collect()
            }
            Err(error) => vec![format!("the schema is not valid: {error}")],
        }
    }

    /// Returns the example of a parameter or a media type: its own, or one made of the examples of
    /// its schema.
    pub(super) fn example(&self, value: &Value) -> Option<Value> {
        let named = value.get("examples").and_then(Value::as_object);
        let named = named.and_then(|named| named.values().next());
        let named = named.and_then(|example| self.resolved(example).get("value"));
        let own = value.get("example").or(named).cloned();
        own.or_else(|| self.schema_example(value.get("schema")?, 0))
    }

    fn schema_example(&self, schema: &Value, depth: usize) -> Option<Value> {
        if depth > DEPTH {
            return None;
        }
        let schema = self.resolved(schema);
        let first = |name: &str| schema.get(name).and_then(Value::as_array)?.first();
        let given = schema.get("example").or_else(|| first("examples"));
        let given = given
            .or_else(|| schema.get("default"))
            .or_else(|| schema.get("const"));
        if let Some(given) = given.or_else(|| first("enum")) {
            return Some(given.clone());
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            let parts = all.iter().map(|part| self.schema_example(part, depth + 1));
            let mut merged = Map::new();
            for part in parts {
                merged.extend(part?.as_object()?.clone());
            }
            return Some(Value::Object(merged));
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            return self.object_example(schema, properties, depth);
        }
        let items = schema.get("items")?;
        Some(Value::Array(vec![self.schema_example(items, depth + 1)?]))
    }

    fn object_example(
        &self,
        schema: &Value,
        properties: &Map<String, Value>,
        depth: usize,
    ) -> Option<Value> {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |name: &String| required.is_some_and(|all| all.iter().any(|one| one == name.as_str()));
        let mut object = Map::new();
        for (name, property) in properties {
            match self.schema_example(property, depth + 1) {
                Some(value) => drop(object.insert(name.clone(), value)),
                None if is_required(name) => return None,
                None => {}
            }
        }
        Some(Value::Object(object))
    }
}
