//! A notebook held against the one that the record gives: what was changed, and what a person added.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::proof::{cells, id_of, join, joined, outputs_of};

/// What is different between two notebooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What is not as it was made: the cell, or nothing for the notebook as a whole, and what.
    pub changed: Vec<(Option<String>, String)>,
    /// What was added to it: the cell, or nothing for the notebook as a whole, and what.
    pub added: Vec<(Option<String>, String)>,
}

/// Compares two notebooks by what they say, not by their bytes: JupyterLab writes the same notebook
/// in other bytes when it saves it.
#[must_use]
pub fn compare(found: &Value, expected: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    cells_of(found, expected, &mut comparison);
    metadata_of(found, expected, &mut comparison);
    for key in ["nbformat", "nbformat_minor"] {
        if found.get(key) != expected.get(key) {
            let what = format!("`{key}` is another");
            comparison.changed.push((None, what));
        }
    }
    let known = ["cells", "metadata", "nbformat", "nbformat_minor"];
    for key in keys(found).filter(|key| !known.contains(key)) {
        comparison.added.push((None, format!("`{key}`")));
    }
    comparison
}

fn keys(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
}

fn cells_of(found: &Value, expected: &Value, comparison: &mut Comparison) {
    let own: Vec<&str> = cells(expected).iter().map(id_of).collect();
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    for (place, cell) in cells(found).iter().enumerate() {
        let id = id_of(cell);
        let at = own.iter().position(|own| *own == id);
        match at.filter(|_| seen.insert(id)) {
            Some(at) => {
                order.push((at, id));
                let made = cells(expected).get(at).unwrap_or(&Value::Null);
                cell_of(cell, made, id, comparison);
            }
            None => {
                let kind = cell.get("cell_type").and_then(Value::as_str);
                let what = format!(
                    "a {} cell, number {}",
                    kind.unwrap_or("nameless"),
                    place + 1
                );
                let id = (!id.is_empty()).then(|| id.to_owned());
                comparison.added.push((id, what));
            }
        }
    }
    for id in own.iter().filter(|id| !seen.contains(*id)) {
        let what = "the cell was removed".to_owned();
        comparison.changed.push((Some((*id).to_owned()), what));
    }
    for id in moved(&order) {
        let what = "the cell was moved".to_owned();
        comparison.changed.push((Some(id.to_owned()), what));
    }
}

/// Returns the cells that were moved, of cells as they stand, each with the place where it was made: those that are
/// none of the most that still follow one another.
fn moved<'a>(order: &[(usize, &'a str)]) -> Vec<&'a str> {
    // The length of the longest row of cells that ends with each, and which cell comes before it there.
    let mut rows: Vec<(usize, Option<usize>)> = Vec::new();
    for (at, _) in order {
        let before = order.iter().zip(&rows).enumerate();
        let before = before.filter(|(_, ((other, _), _))| other < at);
        let longest = before.max_by_key(|(_, (_, (length, _)))| *length);
        let row = longest.map_or((1, None), |(index, (_, (length, _)))| {
            (length + 1, Some(index))
        });
        rows.push(row);
    }
    let last = rows.iter().enumerate();
    let last = last.max_by_key(|(_, (length, _))| *length);
    let mut next = last.map(|(index, _)| index);
    let mut kept = BTreeSet::new();
    while let Some(index) = next {
        kept.insert(index);
        next = rows.get(index).and_then(|(_, before)| *before);
    }
    let cells = order.iter().enumerate();
    let moved = cells.filter(|(index, _)| !kept.contains(index));
    moved.map(|(_, (_, id))| *id).collect()
}

fn cell_of(found: &Value, made: &Value, id: &str, comparison: &mut Comparison) {
    let mut changed = |what: &str| {
        let entry = (Some(id.to_owned()), what.to_owned());
        comparison.changed.push(entry);
    };
    if text_of(found) != text_of(made) {
        changed("its text was changed");
    }
    let has_other_outputs = outputs(found) != outputs(made);
    if has_other_outputs {
        changed("its outputs were changed");
    }
    for key in ["cell_type", "execution_count", "attachments"] {
        if found.get(key) != made.get(key) {
            changed(&format!("`{key}` was changed"));
        }
    }
    let known = [
        "source",
        "cell_type",
        "execution_count",
        "attachments",
        "metadata",
        "id",
    ];
    let mut added = |what: String| comparison.added.push((Some(id.to_owned()), what));
    if found.get("metadata") != made.get("metadata") {
        added("how the cell is shown (its metadata)".to_owned());
    }
    // Cells of words have none, also no empty ones.
    let has_outputs = has_other_outputs || made.get("outputs").is_some();
    let is_known = |key: &str| known.contains(&key) || (key == "outputs" && has_outputs);
    let extra: Vec<&str> = keys(found).filter(|key| !is_known(key)).collect();
    if !extra.is_empty() {
        added(format!(
            "{} of the cell itself, which cells do not have: readers do not show what stands there",
            named(&extra)
        ));
    }
}

/// Names keys that somebody has chosen: quoted, and no more than a line has room for.
fn named(keys: &[&str]) -> String {
    const MOST: usize = 5;
    const LONGEST: usize = 40;
    let shown = |key: &&str| match key.chars().nth(LONGEST) {
        None => format!("{key:?}"),
        Some(_) => format!("{:?}...", key.chars().take(LONGEST).collect::<String>()),
    };
    let word = if keys.len() == 1 {
        "the key"
    } else {
        "the keys"
    };
    let named: Vec<String> = keys.iter().take(MOST).map(shown).collect();
    match keys.len().saturating_sub(MOST) {
        0 => format!("{word} {}", named.join(", ")),
        more => format!("{word} {} and {more} more", named.join(", ")),
    }
}

/// Returns the outputs of a cell, each text in one piece; what is no list of them stands as it is.
fn outputs(cell: &Value) -> Vec<Value> {
    match cell.get("outputs") {
        Some(other) if !other.is_array() => vec![other.clone()],
        _ => outputs_of(cell).iter().map(joined).collect(),
    }
}

fn text_of(cell: &Value) -> Value {
    let mut text = cell.get("source").cloned().unwrap_or_default();
    join(&mut text);
    text
}

/// What the metadata of a notebook says to a program that runs it, and what that is. A program also writes it when it
/// saves a notebook that it has run.
const RUN_BY: [(&str, &str); 2] = [
    ("kernelspec", "the kernel that runs its cells"),
    ("language_info", "the language of its cells"),
];

fn metadata_of(found: &Value, expected: &Value, comparison: &mut Comparison) {
    let of = |notebook: &Value| notebook.get("metadata").cloned().unwrap_or_default();
    let (mut found, mut expected) = (of(found), of(expected));
    let own = |metadata: &mut Value, key: &str| {
        metadata
            .as_object_mut()
            .and_then(|metadata| metadata.remove(key))
    };
    if own(&mut found, "code-deploy") != own(&mut expected, "code-deploy") {
        let what = "what it says of its run (its metadata) was changed".to_owned();
        comparison.changed.push((None, what));
    }
    for (key, meant) in RUN_BY {
        if own(&mut found, key) != own(&mut expected, key) {
            let what = format!("{meant}: `{key}` of its metadata is another");
            comparison.added.push((None, what));
        }
    }
    if found != expected {
        let what = "metadata of the program that saved it".to_owned();
        comparison.added.push((None, what));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn notebook(cell: &Value) -> Value {
        json!({ "cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5 })
    }

    #[test]
    fn a_key_that_was_added_to_a_cell_is_named_and_told_from_its_metadata() {
        let mut cell = json!({
            "cell_type": "markdown", "id": "a", "metadata": {}, "source": "text"
        });
        let made = notebook(&cell);
        cell["approved_by"] = "Anna".into();
        let Comparison { changed, added } = compare(&notebook(&cell), &made);
        assert!(changed.is_empty(), "{changed:?}");
        let what = "the key \"approved_by\" of the cell itself, which cells do not have: readers do not show what \
                    stands there";
        assert_eq!(added, [(Some("a".to_owned()), what.to_owned())]);

        cell["metadata"]["tags"] = json!(["mine"]);
        let shown = "how the cell is shown (its metadata)";
        let Comparison { changed, added } = compare(&notebook(&cell), &made);
        assert!(changed.is_empty(), "{changed:?}");
        let whats: Vec<&str> = added.iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(whats, [shown, what]);

        for number in 0..6 {
            cell[format!("{number}{}", "x".repeat(60))] = 1.into();
        }
        let added = compare(&notebook(&cell), &made).added;
        let (_, last) = &added[1];
        assert!(last.starts_with("the keys \""), "{last}");
        assert!(
            last.contains("...") && last.contains(" and 2 more of the cell"),
            "{last}"
        );
        assert!(!last.contains(&"x".repeat(60)), "{last}");
    }

    #[test]
    fn what_stands_in_the_place_of_outputs_is_named() {
        let words = json!({
            "cell_type": "markdown", "id": "a", "metadata": {}, "source": "text"
        });
        let mut code = words.clone();
        code["cell_type"] = "code".into();
        code["outputs"] = json!([]);
        for cell in [&words, &code] {
            let mut bent = cell.clone();
            bent["outputs"] = "Anna approved".into();
            let Comparison { changed, added } = compare(&notebook(&bent), &notebook(cell));
            let what = "its outputs were changed".to_owned();
            assert_eq!(changed, [(Some("a".to_owned()), what)]);
            assert!(added.is_empty(), "{added:?}");
        }
        let mut bent = words.clone();
        bent["outputs"] = json!([]);
        let Comparison { changed, added } = compare(&notebook(&bent), &notebook(&words));
        assert!(changed.is_empty(), "{changed:?}");
        assert!(
            added[0].1.starts_with("the key \"outputs\" of"),
            "{added:?}"
        );
    }

    #[test]
    fn cells_that_were_moved_are_named_and_no_others() {
        let of = |ids: &str| {
            let cells = ids.chars().map(|id| {
                json!({ "cell_type": "markdown", "id": id.to_string(), "metadata": {}, "source": "text" })
            });
            let cells: Vec<Value> = cells.collect();
            json!({ "cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5 })
        };
        let moved = |ids: &str| {
            let changed = compare(&of(ids), &of("abcdefgh")).changed.into_iter();
            let moved = changed.filter(|(_, what)| what == "the cell was moved");
            moved.filter_map(|(id, _)| id).collect::<String>()
        };
        assert_eq!(moved("abcdefgh"), "");
        assert_eq!(moved("abgdefch"), "gc");
        assert_eq!(moved("habcdefg"), "h");
        assert_eq!(moved("bcdefgha"), "a");
        // What was added or removed moves nothing.
        assert_eq!(moved("abxcdfgh"), "");
        assert_eq!(moved("hgfedcba").len(), 7);
    }

    #[test]
    fn another_kernel_or_language_is_told_from_other_metadata() {
        let made = json!({
            "cells": [], "nbformat": 4, "nbformat_minor": 5,
            "metadata": { "kernelspec": { "name": "code-deploy" }, "language_info": { "name": "rust" } },
        });
        let added = |change: fn(&mut Value)| {
            let mut found = made.clone();
            change(&mut found["metadata"]);
            let Comparison { changed, added } = compare(&found, &made);
            assert!(changed.is_empty(), "{changed:?}");
            added.into_iter().map(|(_, what)| what).collect::<Vec<_>>()
        };
        assert_eq!(
            added(|metadata| metadata["kernelspec"]["name"] = "anna".into()),
            ["the kernel that runs its cells: `kernelspec` of its metadata is another"]
        );
        assert_eq!(
            added(|metadata| metadata["language_info"]["version"] = "3".into()),
            ["the language of its cells: `language_info` of its metadata is another"]
        );
        assert_eq!(
            added(|metadata| metadata["widgets"] = json!({})),
            ["metadata of the program that saved it"]
        );
    }
}
