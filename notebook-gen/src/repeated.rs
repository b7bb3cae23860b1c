//! Keys that stand more than once in an object of a notebook.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The most keys that are told of one notebook.
const MOST: usize = 20;

/// A key that an object of a notebook has more than once. Which of its values is read, each program decides for
/// itself, so that one shows another text than the one that was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatedKey {
    /// The key.
    pub key: String,
    /// In which cell, counted from 1; nothing where it is in none.
    pub cell: Option<usize>,
}

/// Returns the keys that stand more than once in an object of a notebook, 20 at most, up to where it is no JSON or
/// is nested deeper than any notebook.
#[must_use]
pub fn repeated_keys(notebook: &[u8]) -> Vec<RepeatedKey> {
    let mut found = Vec::new();
    let walk = Walk {
        found: &mut found,
        part: Part::Notebook,
        cell: None,
    };
    // Whoever reads the notebook says that it cannot be read; the depth is bounded by the parser.
    drop(walk.deserialize(&mut serde_json::Deserializer::from_slice(notebook)));
    found
}

/// Where in a notebook a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It is the notebook.
    Notebook,
    /// It is the list of the cells.
    Cells,
    Other,
}

/// Goes through a value and keeps nothing of it.
struct Walk<'a> {
    found: &'a mut Vec<RepeatedKey>,
    part: Part,
    cell: Option<usize>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let mut number = 0_usize;
        loop {
            number = number.saturating_add(1);
            let cell = match self.part {
                Part::Cells => Some(number),
                Part::Notebook | Part::Other => self.cell,
            };
            let walk = Walk {
                found: &mut *self.found,
                part: Part::Other,
                cell,
            };
            if values.next_element_seed(walk)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            let part = match self.part {
                Part::Notebook if key == "cells" => Part::Cells,
                Part::Notebook | Part::Cells | Part::Other => Part::Other,
            };
            if keys.contains(&key) && self.found.len() < MOST {
                self.found.push(RepeatedKey {
                    key: key.clone(),
                    cell: self.cell,
                });
            }
            keys.insert(key);
            entries.next_value_seed(Walk {
                found: &mut *self.found,
                part,
                cell: self.cell,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, cell: Option<usize>) -> RepeatedKey {
        RepeatedKey {
            key: key.to_owned(),
            cell,
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_told_with_its_cell() {
        let notebook =
            br#"{"cells": [{"source": "a", "id": "1"}, {"source": "b", "s\u006furce": ["c"]}],
            "metadata": {"a": {"b": 1, "b": 1.5}}, "cells": []}"#;
        let found = [key("source", Some(2)), key("b", None), key("cells", None)];
        assert_eq!(repeated_keys(notebook), found);
    }

    #[test]
    fn what_is_no_notebook_has_no_such_keys() {
        assert_eq!(repeated_keys(b"<svg a=\"1\" a=\"1\"/>"), []);
        assert_eq!(
            repeated_keys(br#"{"a": [null, true, -1, {"a": "a"}], "b": {}}"#),
            []
        );
        let deep = "[".repeat(100_000);
        assert_eq!(repeated_keys(deep.as_bytes()), []);
    }
}
