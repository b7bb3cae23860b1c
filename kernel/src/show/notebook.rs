//! `show`: a notebook as text, for readers without a page.

use std::io::Read as _;
use std::path::Path;

use code_deploy_notebook_gen::{names, notebook_to_text};

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

/// Shows the notebook of a file.
///
/// # Errors
/// Where it cannot be read, or is no notebook.
pub fn show(path: &Path, face: &dyn Face) -> Result<(), Failure> {
    let name = path.display().to_string();
    let text = read(path).map_err(|error| {
        let next = "`code-deploy notebooks` writes those of a run; `code-deploy show` lists them.";
        refused(format!("{name} cannot be read: {error}"), next.to_owned())
    })?;
    let width = face.width().unwrap_or(WIDTH);
    let text = notebook_to_text(&name, &text, width).map_err(|error| {
        let next = "Name a Jupyter notebook (a file that ends in .ipynb).";
        refused(error.to_string(), next.to_owned())
    })?;
    face.text(&text);
    Ok(())
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        let what = format!("it is larger than {} MiB", LARGEST >> 20);
        return Err(std::io::Error::other(what));
    }
    Ok(text)
}

fn refused(what: String, next: String) -> Failure {
    Failure::refused("CD0317", what, next)
}
