//! In what way a file beside a record is unlike the one that the record gives.

use std::path::Path;

use code_deploy_notebook_gen::{self as notebook_gen, Origin, RepeatedKey, place_of};
use code_deploy_record::Digest;
use serde_json::Value;

use super::notebooks::{Given, NOT_AS_SIGNED, Notebooks};
use super::{Kind, Row, paths};
use crate::publish;

/// What is said of a guide to verifying that is not the one that was written.
const NO_GUIDE: &str = "do not run commands from it";

/// What is known of the files of a folder, once some were looked at.
#[derive(Default)]
pub(super) struct Tally {
    /// How many are, byte for byte, what the key of the record signed, and not what this program makes.
    pub as_signed: usize,
    /// How many notebooks say that another build of this version made them, which nothing that was signed shows.
    pub unsigned: usize,
    /// Why the bytes of a notebook cannot be compared.
    why: Option<String>,
    /// Whether another build of this version is why.
    is_build: bool,
}

/// What another build of this version made.
struct Build {
    /// Whether it is what this one makes.
    is_alike: bool,
    /// Why bytes cannot be compared.
    why: String,
}

/// Says what does not hold of a file that is not, byte for byte, what this program makes. What another build of the same
/// version made, only a signature over these very bytes tells from a change: whoever edits a notebook can write into
/// it which build made it.
pub(super) fn judged(
    given: &Given,
    notebooks: &Notebooks,
    path: &Path,
    (found, expected): (&[u8], &[u8]),
    tally: &mut Tally,
) -> Vec<Row> {
    let is_signed = given.listed.get(path) == Some(&Digest::of(found).to_string());
    match (another_build(found, expected), is_signed) {
        // What stands beside it and says nothing of who made it may be another, too.
        (Some(build), true) => {
            tally.as_signed += usize::from(!build.is_alike);
            tally.is_build = true;
            tally.why.get_or_insert(build.why);
            return Vec::new();
        }
        (Some(build), false) => tally.unsigned += usize::from(!build.is_alike),
        (None, _) => {}
    }
    let beside = tally.why.as_deref();
    let mut rows = unlike(given, notebooks, path, (found, expected), beside);
    add_repeated(notebooks, path, found, &mut rows);
    let Some(apart) = rows.iter().find(|row| row.kind == Kind::NotComparable) else {
        return rows;
    };
    tally.why.get_or_insert_with(|| apart.what.clone());
    if is_signed {
        tally.as_signed += 1;
        return Vec::new();
    }
    let is_listed = given.listed.contains_key(path);
    if is_listed && (given.is_signed || tally.is_build) {
        return vec![notebooks.row(Kind::Different, path, None, NOT_AS_SIGNED)];
    }
    rows
}

/// Returns what another build of this version made of a notebook; nothing where it does not say that one did.
fn another_build(found: &[u8], expected: &[u8]) -> Option<Build> {
    let (made, origin) = (Origin::of(expected)?, Origin::of(found)?);
    if origin.run != made.run || !origin.is_of_another_build(&made) {
        return None;
    }
    let without = |content: &[u8]| {
        let mut notebook: Value = serde_json::from_slice(content).ok()?;
        notebook_gen::take_source(&mut notebook);
        Some(notebook)
    };
    let why = format!(
        "made by another build of {}; bytes cannot be compared",
        origin.named_version()
    );
    let is_alike = without(found)? == without(expected)?;
    Some(Build { is_alike, why })
}

/// Says in what way a file is unlike the one that this program makes. A chart does not say who drew
/// it: it is judged as the notebooks beside it are.
fn unlike(
    given: &Given,
    notebooks: &Notebooks,
    path: &Path,
    (found, expected): (&[u8], &[u8]),
    beside: Option<&str>,
) -> Vec<Row> {
    let row = |kind, what: String| vec![notebooks.row(kind, path, None, what)];
    let changed = || {
        row(
            Kind::Different,
            "changed: not what the record gives".to_owned(),
        )
    };
    let Some(origin) = Origin::of(expected) else {
        let is_guide = path == Path::new(publish::VERIFY_FILE);
        return match beside {
            Some(why) if is_guide => row(
                Kind::NotComparable,
                format!("beside notebooks {why}: {NO_GUIDE}"),
            ),
            None if is_guide => {
                let what = format!("changed: not the text that this program writes: {NO_GUIDE}");
                row(Kind::Different, what)
            }
            Some(why) if path.starts_with(notebook_gen::CHARTS) => {
                row(Kind::NotComparable, format!("beside notebooks {why}"))
            }
            _ => changed(),
        };
    };
    let content = found;
    let (Some(found_origin), Ok(mut found)) = (Origin::of(found), serde_json::from_slice(found))
    else {
        return changed();
    };
    if found_origin.run != origin.run {
        let run = found_origin.run.unwrap_or_else(|| "no run".to_owned());
        return row(
            Kind::Different,
            format!("not of this run: it says that it is of {run}"),
        );
    }
    if let Some(why) = found_origin.unlike(&origin) {
        let mut rows = row(Kind::NotComparable, why);
        rows.extend(outputs(notebooks, path, &found));
        return rows;
    }
    let Ok(mut expected) = serde_json::from_slice(expected) else {
        return changed();
    };
    // Where the record lacks what it had signed, that is what is named, and not each notebook that bears it.
    let key = given.key.as_ref();
    let is_freed = key.is_some_and(|key| notebook_gen::take_note(&mut found, &mut expected, key));
    // Where bytes have to be those that were signed, also what says which build made them has to be as it was.
    let is_held = given.is_signed || given.is_own;
    let is_another = !is_held && found_origin.is_of_another_build(&origin);
    if is_another {
        for notebook in [&mut found, &mut expected] {
            notebook_gen::take_source(notebook);
        }
    }
    // Without the signed root there are no bytes to compare: what stands there is, and how it is written.
    let is_same = is_another || (is_freed && notebook_gen::is_as_written(content));
    if is_same && found == expected {
        return Vec::new();
    }
    cell_by_cell(notebooks, path, &found, &expected)
}

/// Adds that keys of a notebook stand there more than once. That is no work of a program that saved it.
fn add_repeated(notebooks: &Notebooks, path: &Path, found: &[u8], rows: &mut Vec<Row>) {
    let repeated = repeated(notebooks, path, found);
    if repeated.is_empty() {
        return;
    }
    let place = path.display().to_string();
    rows.retain(|row| row.kind != Kind::Added || row.place != place);
    rows.extend(repeated);
}

/// Says which keys of a notebook stand there more than once. Which of the values a reader sees, no comparison tells.
pub(super) fn repeated(notebooks: &Notebooks, path: &Path, content: &[u8]) -> Vec<Row> {
    if !paths::is_notebook(path) {
        return Vec::new();
    }
    let keys = notebook_gen::repeated_keys(content).into_iter();
    let rows = keys.map(|RepeatedKey { key, cell }| {
        let within = match cell {
            Some(number) => format!("cell {number}"),
            None => "the notebook".to_owned(),
        };
        let what = format!(
            "changed: the key {key:?} stands more than once in an object of {within}: what a reader sees there may be \
             another text than the one that was compared"
        );
        notebooks.row(Kind::Different, path, None, what)
    });
    rows.collect()
}

fn cell_by_cell(notebooks: &Notebooks, path: &Path, found: &Value, expected: &Value) -> Vec<Row> {
    let comparison = notebook_gen::compare(found, expected);
    let row = |kind, (cell, what): (Option<String>, String)| {
        notebooks.row(kind, path, cell.as_deref(), what)
    };
    let changed = comparison.changed.into_iter().map(|(cell, what)| {
        let what = match cell.as_deref() {
            Some(id) if place_of(found, id).is_some() => placed(what, found, id, Some(expected)),
            Some(id) => placed(what, expected, id, None),
            None => what,
        };
        (cell, what)
    });
    let mut rows: Vec<Row> = changed.map(|one| row(Kind::Different, one)).collect();
    rows.extend(
        comparison
            .added
            .into_iter()
            .map(|one| row(Kind::Added, one)),
    );
    if rows.is_empty() {
        let what = "spaces, or the order of what has no order: another program saved it";
        rows.push(notebooks.row(Kind::Added, path, None, what));
    }
    rows
}

/// Says behind what is wrong with a cell where a reader finds it. The heading is the one that was made,
/// where that is known.
fn placed(what: String, notebook: &Value, id: &str, made: Option<&Value>) -> String {
    let Some(mut place) = place_of(notebook, id) else {
        return what;
    };
    if let Some(made) = made.and_then(|made| place_of(made, id)) {
        place.heading = made.heading;
    }
    format!("{what} ({place})")
}

/// Says which outputs of a notebook are not the leaves that they are said to be.
pub(super) fn outputs(notebooks: &Notebooks, path: &Path, notebook: &Value) -> Vec<Row> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let check = notebook_gen::check_outputs(&name, notebook).unwrap_or_default();
    let broken = check.broken.into_iter().map(|(cell, what)| {
        let what = match cell.as_deref() {
            Some(id) => placed(what, notebook, id, None),
            None => what,
        };
        notebooks.row(Kind::Different, path, cell.as_deref(), what)
    });
    broken.collect()
}
