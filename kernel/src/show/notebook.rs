//! `show`: a notebook as text, for readers without a page.

use std::path::Path;

use code_deploy_notebook_gen::{names, notebook_to_text};
use code_deploy_record::disk::{open_named, read_at_most};
use code_deploy_record::plain;

use crate::commands::did_you_mean;
use crate::face::Face;
use crate::failure::Failure;

/// How wide lines may be where no terminal says so, in characters.
const WIDTH: usize = 110;

/// The largest notebook that is read, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Returns which of a run's notebooks a folder has, in words.
///
/// # Errors
/// Where it has none.
pub fn listed(folder: &Path) -> Result<String, Failure> {
    let names = names().into_iter();
    let there: Vec<_> = names
        .filter(|name| folder.join(format!("{name}.ipynb")).is_file())
        .collect();
    if there.is_empty() {
        let what = format!("there are no notebooks of the run in {}", folder.display());
        return Err(refused(
            what,
            "`code-deploy notebooks` writes them.".to_owned(),
        ));
    }
    Ok(format!(
        "Notebooks in {}: {}",
        folder.display(),
        there.join(", ")
    ))
}

/// Returns the name of the notebook of a run that begins with a word, such as `09`.
///
/// # Errors
/// Where none or more than one begins with it.
pub fn named(wanted: &Path) -> Result<&'static str, Failure> {
    let word = wanted.to_string_lossy();
    // 9 stands for 09.
    let word = match word.as_bytes() {
        [digit @ b'1'..=b'9'] => format!("0{}", char::from(*digit)),
        _ => word.into_owned(),
    };
    let begins = |name: &&'static str| {
        let begin = name.get(..word.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(&word))
    };
    let known = names();
    let found: Vec<&'static str> = known.iter().copied().filter(begins).collect();
    match found[..] {
        [name] => Ok(name),
        [] => {
            let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
            let next = format!(
                "{}Name a file, or one of a run's notebooks: {}.",
                did_you_mean(&word, &known),
                known.join(", ")
            );
            Err(refused(
                format!("there is no file and no notebook of a run `{word}`"),
                next,
            ))
        }
        ref more => {
            let what = format!(
                "more than one notebook begins with `{word}`: {}",
                more.join(", ")
            );
            Err(refused(what, "Write more of the name.".to_owned()))
        }
    }
}

/// Shows the notebook of a file, below a line that says that nothing of it was checked.
///
/// # Errors
/// Where it cannot be read, or is no notebook.
pub fn show(path: &Path, face: &dyn Face) -> Result<(), Failure> {
    let text = text_of(path, face.width().unwrap_or(WIDTH))?;
    face.text(&text);
    Ok(())
}

fn text_of(path: &Path, width: usize) -> Result<String, Failure> {
    let name = path.display().to_string();
    let text = read(path).map_err(|error| {
        let next = "`code-deploy notebooks` writes those of a run; `code-deploy show` lists them.";
        refused(format!("{name} cannot be read: {error}"), next.to_owned())
    })?;
    let text = notebook_to_text(&name, &text, width).map_err(|error| {
        let next = "Name a Jupyter notebook (a file that ends in .ipynb).";
        refused(error.to_string(), next.to_owned())
    })?;
    Ok(format!("{}\n\n{text}", unchecked(&name)))
}

/// Says of a file that it is shown as it is, whoever has changed it, and how it is checked. Nothing in its name steers the
/// terminal.
fn unchecked(name: &str) -> String {
    let name = plain(name);
    let path = shlex::try_quote(&name).unwrap_or_default();
    format!(
        "{name}: shown as the file has it, and not checked. `code-deploy verify {path}` says whether it is as it was made."
    )
}

fn read(path: &Path) -> std::io::Result<String> {
    let text = read_at_most(open_named(path)?, LARGEST)?;
    String::from_utf8(text).map_err(|_| std::io::Error::other("it is no text"))
}

fn refused(what: String, next: String) -> Failure {
    Failure::refused("CD0317", what, next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

    use super::*;

    #[test]
    fn a_notebook_that_anybody_may_have_changed_is_shown_as_not_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("09 changed.ipynb");
        let cell = serde_json::json!({
            "cell_type": "markdown", "id": "a", "metadata": {}, "source": ["All went well."],
        });
        let notebook = serde_json::json!({
            "nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell],
        });
        std::fs::write(&path, notebook.to_string()).unwrap();
        let text = text_of(&path, 80).unwrap();
        let name = path.display();
        let first = format!(
            "{name}: shown as the file has it, and not checked. `code-deploy verify '{name}'` says whether it is as it \
             was made.\n\nAll went well."
        );
        assert_eq!(text.trim_end(), first);
    }

    #[test]
    fn a_name_steers_no_terminal() {
        let said = unchecked("a\u{1b}[2J\n.ipynb");
        assert!(!said.contains(char::is_control), "{said:?}");
        let said = unchecked("a\u{202e}b.ipynb");
        assert!(!said.contains('\u{202e}'), "{said:?}");
    }

    #[test]
    fn what_may_have_no_end_is_not_read() {
        let error = text_of(Path::new("/dev/zero"), 80).unwrap_err();
        assert!(error.problem.what.contains("and no file"), "{error:?}");
    }
}
