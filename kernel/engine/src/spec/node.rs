//! YAML with the place of every value.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A value of a YAML document with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// The place of the value.
    pub(crate) at: Place,
    /// The value.
    pub(crate) value: Value,
}

/// A place in a file: line and column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Place,
    pub(crate) node: Node,
}

impl Node {
    /// Returns what stands under a key, or at an index written as a number.
    pub(crate) fn get(&self, part: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(_) => self.entry(part).map(|entry| &entry.node),
            Value::List(items) => items.get(part.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// Returns a key with its value.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Returns the keys with their values; none when it is no mapping.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the items; none when it is no list.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Returns a scalar as text, as Compose passes it on.
    pub(crate) fn text(&self) -> Option<String> {
        match &self.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(value.to_string()),
            Value::Text(value) => Some(value.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Returns the value in words: `a list`.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Returns the value as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        use serde_json::Value as J;
        match &self.value {
            Value::Null => J::Null,
            Value::Bool(value) => J::Bool(*value),
            Value::Int(value) => J::from(*value),
            Value::Float(value) => J::from(*value),
            Value::Text(value) => J::from(value.as_str()),
            Value::List(items) => J::Array(items.iter().map(Self::json).collect()),
            Value::Map(entries) => J::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.node.json()))
                    .collect(),
            ),
        }
    }

    /// Returns the keys that lead to what stands at a place: a key first, then a value.
    pub(crate) fn path_at(&self, at: Place) -> Option<Vec<String>> {
        let mut path = Vec::new();
        self.search(at, true, &mut path)
            .or_else(|| self.search(at, false, &mut path))
            .map(|()| path)
    }

    fn search(&self, at: Place, keys: bool, path: &mut Vec<String>) -> Option<()> {
        if !keys && self.at == at {
            return Some(());
        }
        for entry in self.entries() {
            path.push(entry.key.clone());
            if keys && entry.at == at {
                return Some(());
            }
            if entry.node.search(at, keys, path).is_some() {
                return Some(());
            }
            path.pop();
        }
        for (index, item) in self.items().iter().enumerate() {
            path.push(index.to_string());
            if item.search(at, keys, path).is_some() {
                return Some(());
            }
            path.pop();
        }
        None
    }
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            line: number(location.line()),
            column: number(location.column()),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            at: found.referenced.into(),
            value: found.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Int))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push(Entry {
                at: key.referenced.into(),
                key: key.value,
                node: map.next_value()?,
            });
        }
        Ok(Value::Map(entries))
    }
}
