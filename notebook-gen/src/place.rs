//! Where a cell stands in a notebook, as a reader finds it.

use std::fmt;

use serde_json::Value;

use crate::proof::{cells, id_of, join};

/// Where a cell stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellPlace {
    /// Its number among the cells of its notebook, counted from 1.
    pub number: usize,
    /// How many cells the notebook has.
    pub of: usize,
    /// The nearest heading above it, without its marks.
    pub heading: Option<String>,
}

impl fmt::Display for CellPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cell {} of {}", self.number, self.of)?;
        match &self.heading {
            Some(heading) => write!(f, ", under \"{heading}\""),
            None => Ok(()),
        }
    }
}

/// Returns where the first cell with that id stands; nothing when there is none.
#[must_use]
pub fn place_of(notebook: &Value, id: &str) -> Option<CellPlace> {
    let cells = cells(notebook);
    let index = cells.iter().position(|cell| id_of(cell) == id)?;
    let above = cells.iter().take(index).rev();
    Some(CellPlace {
        number: index + 1,
        of: cells.len(),
        heading: above.into_iter().find_map(last_heading),
    })
}

/// Returns the last heading in the text of a cell, if that is Markdown.
fn last_heading(cell: &Value) -> Option<String> {
    if cell.get("cell_type")?.as_str()? != "markdown" {
        return None;
    }
    let mut text = cell.get("source")?.clone();
    join(&mut text);
    let (mut found, mut is_code) = (None, false);
    for line in text.as_str()?.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let title = line.trim_start_matches('#');
        let marks = line.len() - title.len();
        if !is_code && (1..=6).contains(&marks) && title.starts_with(' ') {
            found = Some(title.trim().to_owned()).filter(|title| !title.is_empty());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_is_found_by_its_number_and_the_heading_above_it() {
        let notebook = json!({ "cells": [
            { "id": "a", "cell_type": "markdown", "source": ["# Plan\n", "words\n", "## Risks\n"] },
            { "id": "b", "cell_type": "code", "source": "# no heading" },
            { "id": "c", "cell_type": "markdown", "source": "```sh\n# a comment\n```\n#hashtag" },
            { "id": "d", "cell_type": "code", "source": "" },
        ] });
        let place = |id| place_of(&notebook, id).map(|place| place.to_string());
        assert_eq!(place("a").unwrap(), "cell 1 of 4");
        assert_eq!(place("b").unwrap(), "cell 2 of 4, under \"Risks\"");
        assert_eq!(place("d").unwrap(), "cell 4 of 4, under \"Risks\"");
        assert_eq!(place("e"), None);
    }
}
