//! Notebooks as text of a terminal, for readers without a page. What a notebook holds is not trusted: nothing of it
//! steers the terminal. Pictures are named, not shown, and so are outputs that are HTML only; HTML within Markdown stays
//! the text that it is.

mod prose;

use jupyter_protocol::media::{Media, MediaType};
use nbformat::v4::{Cell, Notebook, Output};

use crate::narrow::lines_within;
use crate::{Error, Result};

/// What a control sequence begins with.
const INTRODUCER: &str = "\u{1b}[";

/// Returns a notebook as text of which no line is longer than `width` characters where its words allow that: prose
/// with its tables aligned, each cell's command, and below it what it gave.
///
/// `name` is what an error calls the notebook. Pictures are told by their text alternative.
///
/// # Errors
/// [`Error::NotANotebook`] where the text is none.
pub fn notebook_to_text(name: &str, json: &str, width: usize) -> Result<String> {
    let notebook = read(json).map_err(|what| Error::NotANotebook {
        notebook: name.to_owned(),
        what,
    })?;
    let blocks: Vec<String> = notebook
        .cells
        .iter()
        .flat_map(|cell| blocks_of(cell, width))
        .filter(|block| !block.trim().is_empty())
        .collect();
    Ok(blocks.join("\n\n"))
}

fn read(json: &str) -> std::result::Result<Notebook, String> {
    match nbformat::parse_notebook(json).map_err(|error| error.to_string())? {
        nbformat::Notebook::V4(notebook) => Ok(notebook),
        nbformat::Notebook::V4QuirksMode(quirks) => Ok(quirks.repair()),
        nbformat::Notebook::Legacy(legacy) => {
            nbformat::upgrade_legacy_notebook(legacy).map_err(|error| error.to_string())
        }
        nbformat::Notebook::V3(old) => {
            nbformat::upgrade_v3_notebook(old).map_err(|error| error.to_string())
        }
        _ => Err("it has a form that this version does not know".to_owned()),
    }
}

fn blocks_of(cell: &Cell, width: usize) -> Vec<String> {
    match cell {
        Cell::Markdown { source, .. } => vec![prose::markdown_to_text(&source.concat(), width)],
        Cell::Raw { source, .. } => vec![clean(&source.concat())],
        Cell::Code {
            source,
            outputs,
            execution_count,
            ..
        } => {
            let number = execution_count.map_or(" ".to_owned(), |number| number.to_string());
            let command = clean(&source.concat());
            let command = command.trim_end().replace('\n', "\n    ");
            let mut blocks = vec![format!("[{number}] {command}")];
            blocks.extend(outputs.iter().map(|output| shown(output, width)));
            blocks
        }
    }
}

fn shown(output: &Output, width: usize) -> String {
    match output {
        Output::Stream { text, .. } => lines_within(clean_output(&text.0).trim_end(), width),
        Output::DisplayData(display) => of_media(&display.data, width),
        Output::ExecuteResult(result) => of_media(&result.data, width),
        Output::Error(error) => {
            let lines = error.traceback.iter().map(|line| clean_output(line));
            let lines: Vec<String> = lines.collect();
            let (name, value) = (clean_output(&error.ename), clean_output(&error.evalue));
            let first = format!("{name}: {value}");
            lines_within(&format!("{first}\n{}", lines.join("\n")), width)
        }
    }
}

/// Shows the first of the forms that a terminal can show best.
fn of_media(media: &Media, width: usize) -> String {
    let found = |wanted: fn(&MediaType) -> Option<&String>| media.content.iter().find_map(wanted);
    let markdown = found(|one| match one {
        MediaType::Markdown(text) => Some(text),
        _ => None,
    });
    let plain = found(|one| match one {
        MediaType::Plain(text) => Some(text),
        _ => None,
    });
    let is_picture = media.content.iter().any(|one| {
        matches!(
            one,
            MediaType::Png(_) | MediaType::Jpeg(_) | MediaType::Gif(_) | MediaType::Svg(_)
        )
    });
    match (is_picture, markdown, plain) {
        (true, _, Some(text)) => lines_within(&format!("(picture) {}", clean_output(text)), width),
        (true, _, None) => "(picture without a text)".to_owned(),
        (false, Some(text), _) => prose::markdown_to_text(&without_sequences(text), width),
        (false, None, Some(text)) => clean_output(text),
        (false, None, None) => "(an output that only a page shows)".to_owned(),
    }
}

/// Takes away what steers a terminal, and what changes the direction in which text is read. Nothing that can be seen
/// goes: what hides in a sequence is shown as text.
fn clean(text: &str) -> String {
    let shown = |one: &char| match one {
        '\n' => true,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        other => !other.is_control(),
    };
    text.replace('\t', "    ").chars().filter(shown).collect()
}

/// Cleans what a program wrote, whose sequences for colours are no part of the text.
fn clean_output(text: &str) -> String {
    clean(&without_sequences(text))
}

/// Takes away control sequences (ECMA-48), each from its introducer to its final byte. Control strings stay: they may
/// hold any text, which would be hidden.
fn without_sequences(text: &str) -> String {
    let mut parts = text.split(INTRODUCER);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match after_sequence(part) {
            Some(rest) => kept.push_str(rest),
            None => {
                kept.push_str(INTRODUCER);
                kept.push_str(part);
            }
        }
    }
    kept
}

/// Returns what follows the parameters, the intermediate bytes and the final byte of a control sequence; nothing where
/// they are none.
fn after_sequence(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|one: char| matches!(one, '0'..='?'));
    let rest = rest.trim_start_matches(|one: char| matches!(one, ' '..='/'));
    rest.strip_prefix(|one: char| matches!(one, '@'..='~'))
}

#[cfg(test)]
mod tests {
    use super::notebook_to_text;
    use serde_json::json;

    fn text_of(cells: serde_json::Value) -> String {
        let notebook =
            json!({ "nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells });
        notebook_to_text("it", &notebook.to_string(), 60).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_cell_stands_above_what_it_gave() {
        let picture = json!({ "output_type": "display_data", "metadata": {}, "data": {
            "image/png": "AAAA", "text/plain": "latency, 3 ms at most" } });
        let error = json!({ "output_type": "error", "ename": "CD0412", "evalue": "no",
            "traceback": ["\u{1b}[31merror\u{1b}[0m"] });
        let printed = json!({ "output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"] });
        let code = json!({ "cell_type": "code", "id": "b", "metadata": {}, "execution_count": 3,
            "source": ["%release\n"], "outputs": [printed, picture, error] });
        let expected =
            "[3] %release\n\na\nb\n\n(picture) latency, 3 ms at most\n\nCD0412: no\nerror";
        assert_eq!(text_of(json!([code])), expected);
    }

    #[test]
    fn nothing_of_a_notebook_steers_the_terminal() {
        let hostile = "a\u{1b}[2Jb\u{9b}31m\u{7}\u{202e}c <script>x</script>";
        let prose =
            json!({ "cell_type": "markdown", "id": "a", "metadata": {}, "source": [hostile] });
        let html = json!({ "output_type": "display_data", "metadata": {}, "data": { "text/html": "<b>x</b>" } });
        let code = json!({ "cell_type": "code", "id": "b", "metadata": {}, "execution_count": null,
            "source": [hostile], "outputs": [html] });
        let text = text_of(json!([prose, code]));
        let steers = |one: char| one != '\n' && (one.is_control() || one == '\u{202e}');
        assert!(!text.contains(steers), "{text:?}");
        assert!(
            text.ends_with("(an output that only a page shows)"),
            "{text}"
        );
    }

    #[test]
    fn no_text_hides_in_a_sequence() {
        let source = json!(["%release\u{1b}]\n", "// anything"]);
        let output = "\u{1b}[1;31mred\u{1b}[0m \u{1b}]8;;x\u{7}b \u{1b}[\u{200f}c";
        let printed = json!({ "output_type": "stream", "name": "stdout", "text": [output] });
        let code = json!({ "cell_type": "code", "id": "a", "metadata": {}, "execution_count": 1,
            "source": source, "outputs": [printed] });
        let expected = "[1] %release]\n    // anything\n\nred ]8;;xb [c";
        assert_eq!(text_of(json!([code])), expected);
    }

    #[test]
    fn what_is_no_notebook_is_named() {
        let error = notebook_to_text("x.ipynb", "{}", 80).map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.starts_with("x.ipynb is no notebook: ")));
    }
}
