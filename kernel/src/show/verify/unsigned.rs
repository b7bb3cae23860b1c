//! Notebooks that a run has left and nobody signed.

use code_deploy_notebook_gen::Origin;

use super::foreign::listed;
use super::notebooks::{Given, Notebooks, compare};
use super::{Kind, Row, paths};
use crate::face::Face;
use crate::failure::Failure;
use crate::publish;

/// Holds notebooks against those that the record gives. Those that a run of a record without a key has left, and that
/// nobody named, are compared as far as this program made them, beside the same runs: that another one made the rest
/// is said and is no finding.
pub(super) fn compare_left(
    given: &Given,
    notebooks: &Notebooks,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    if !notebooks.is_left || is_signed(given, notebooks)? {
        return compare(given, notebooks, face);
    }
    let folder = notebooks.folder.display();
    if are_all_apart(given, notebooks) {
        face.text(&format!(
            "The notebooks in {folder} are not signed and were not checked: `code-deploy verify {folder}` does."
        ));
        return Ok(Vec::new());
    }
    let rows = compare(given, notebooks, face)?.into_iter();
    let (apart, rows): (Vec<Row>, Vec<Row>) = rows.partition(|row| row.kind == Kind::NotComparable);
    if !apart.is_empty() {
        let names: Vec<String> = apart.into_iter().map(|row| row.place).collect();
        face.text(&format!(
            "Of what is in {folder}, these are not signed and were not compared, because another program made them, or \
             other runs were at hand: {}",
            listed(&names)
        ));
    }
    Ok(rows)
}

/// Returns whether a key seals the record, or something says that the notebooks were signed.
fn is_signed(given: &Given, notebooks: &Notebooks) -> Result<bool, Failure> {
    Ok(given.key.is_some() || notebooks.seal().exists() || publish::kept(&given.record)?.is_some())
}

/// Returns whether notebooks of the run are here, and each was made by another program or beside other runs.
fn are_all_apart(given: &Given, notebooks: &Notebooks) -> bool {
    let made = given.files.iter();
    let made = made.filter(|(path, _)| paths::is_notebook(path));
    let here = made.filter_map(|(path, made)| Some((notebooks.read(path).ok()?, made)));
    let apart: Vec<bool> = here.map(|(found, made)| is_apart(&found, made)).collect();
    !apart.is_empty() && apart.into_iter().all(|one| one)
}

fn is_apart(found: &[u8], made: &[u8]) -> bool {
    let (Some(found), Some(made)) = (Origin::of(found), Origin::of(made)) else {
        return false;
    };
    found.run == made.run && found.unlike(&made).is_some()
}
