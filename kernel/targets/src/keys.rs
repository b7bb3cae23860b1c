//! Values of a Compose file in the forms in which Compose takes them.

use std::collections::{BTreeMap, HashMap};

use code_deploy_engine::duration::Span;
use code_deploy_engine::spec;
use serde_json::Value;

/// A mapping of a Compose file.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a>(pub &'a Value);

/// What a value should have been, in words that name it.
pub type Found<T> = Result<T, String>;

impl<'a> Keys<'a> {
    /// Returns the value of a key, if it says anything.
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// Returns the mapping under a key; an empty one when there is none.
    pub fn under(self, key: &str) -> Keys<'a> {
        Keys(self.0.get(key).unwrap_or(&Value::Null))
    }

    /// Returns a text; numbers count as one.
    pub fn text(self, key: &str) -> Option<String> {
        self.get(key).and_then(text)
    }

    /// Returns a whole number.
    pub fn number(self, key: &str) -> Found<Option<i64>> {
        let number = |value: &Value| {
            let whole = value.as_i64();
            whole.or_else(|| value.as_str()?.trim().parse().ok())
        };
        self.typed(key, "a whole number", number)
    }

    /// Returns true or false.
    pub fn switch(self, key: &str) -> Found<Option<bool>> {
        let switch = |value: &Value| match value {
            Value::Bool(value) => Some(*value),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        self.typed(key, "true or false", switch)
    }

    /// Returns an amount of bytes.
    pub fn bytes(self, key: &str) -> Found<Option<i64>> {
        let amount = |value: &Value| {
            let bytes = spec::bytes(&text(value)?)?;
            i64::try_from(bytes).ok()
        };
        self.typed(key, "an amount such as 64M", amount)
    }

    /// Returns a length of time in nanoseconds.
    pub fn nanoseconds(self, key: &str) -> Found<Option<i64>> {
        let length = |value: &Value| {
            let span: Span = value.as_str()?.parse().ok()?;
            i64::try_from(span.get().as_nanos()).ok()
        };
        self.typed(key, "a length of time such as 10s", length)
    }

    fn typed<T>(
        self,
        key: &str,
        form: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Found<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let bad = || format!("`{key}` is `{value}`, not {form}");
        read(value).map(Some).ok_or_else(bad)
    }

    /// Returns a list of texts; a single text is a list of one.
    pub fn list(self, key: &str) -> Option<Vec<String>> {
        match self.get(key)? {
            Value::Array(items) => Some(items.iter().filter_map(text).collect()),
            value => text(value).map(|text| vec![text]),
        }
    }

    /// Returns pairs that stand as a mapping or as a list of `NAME=VALUE`.
    pub fn pairs(self, key: &str) -> Option<BTreeMap<String, String>> {
        match self.get(key)? {
            Value::Object(map) => {
                let pairs = map.iter();
                let pairs =
                    pairs.map(|(name, value)| (name.clone(), text(value).unwrap_or_default()));
                Some(pairs.collect())
            }
            Value::Array(items) => {
                let pairs = items.iter().filter_map(text);
                let pairs = pairs.map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
                    (name.to_owned(), value.to_owned())
                });
                Some(pairs.collect())
            }
            _ => None,
        }
    }

    /// Returns pairs as the engine takes them.
    pub fn map(self, key: &str) -> Option<HashMap<String, String>> {
        self.pairs(key).map(|pairs| pairs.into_iter().collect())
    }

    /// Returns a command: a list as it is, a text split as a shell would.
    pub fn command(self, key: &str) -> Found<Option<Vec<String>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => {
                let words = shlex::split(text);
                let bad = || format!("`{key}` is `{text}`, which has an open quote");
                words.map(Some).ok_or_else(bad)
            }
            Some(_) => Ok(self.list(key)),
        }
    }
}

/// Returns a value as a text, if it is one, a number or a truth value.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
