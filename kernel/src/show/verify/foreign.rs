//! What lies in a folder of notebooks and is none of what was made or signed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use code_deploy_notebook_gen::{CHARTS, is_page};
use code_deploy_record::disk::is_incidental;
use code_deploy_record::{EXPORTED_RECORD, RunFolder, RunsFolder, SealFolder};

use super::notebooks::Notebooks;
use super::paths::{is_same, project_of, why_unread};
use super::{Kind, Row};
use crate::face::Face;
use crate::failure::Failure;

/// What is said of a file that nobody made or signed.
const NOT_MADE: &str =
    "nothing of this name is made of the run, or signed: what is yours, keep elsewhere";

/// What is said of a folder of the program that was put beside notebooks.
const HIDDEN: &str = "it holds a record, and is not where the one is kept that these notebooks are held against: nothing \
                      of it is made of the run, or signed";

/// What is said of a journal that was put beside notebooks which came with their record.
const JOURNAL: &str = "it is not the journal of the record beside these notebooks (`record/`): nothing of it is made of the \
                       run, or signed";

/// The most names that are told of what nothing covers.
const MOST: usize = 20;

/// Names what stands in a folder of notebooks, in `charts/` or in `seal/`, and is none of the files that are
/// `known`. In a folder that was signed that is a finding. In the folder of the project whose record this is (what
/// lies in a folder does not make it one), and where a name is hidden as those are in which Jupyter keeps older
/// states, or is left of a process that was killed while it wrote, it is said that nothing covers it. Notebooks and
/// pictures are judged as such, and so is the record that they are held against.
pub(super) fn foreign(
    notebooks: &Notebooks,
    record: Option<&RunFolder>,
    known: &BTreeSet<&Path>,
    is_signed: bool,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    let project = record.and_then(project_of);
    let is_project = project.is_some_and(|project| is_same(&project.folder, &notebooks.folder));
    let (mut rows, mut not_covered) = (Vec::new(), Vec::new());
    for path in entries(notebooks)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_hidden = name.starts_with('.') || is_incidental(&name);
        if known.contains(path.as_path()) || (!is_hidden && is_judged(notebooks, record, &path)) {
            continue;
        }
        let damaged = damaged_record(notebooks, record, &path);
        if let Some(row) = damaged.filter(|_| is_signed) {
            rows.push(row);
        } else if !is_project && hides_record(notebooks, record, &path, is_signed) {
            rows.push(notebooks.row(Kind::Different, &path, None, HIDDEN));
        } else if is_other_journal(notebooks, record, &path) {
            rows.push(notebooks.row(Kind::Different, &path, None, JOURNAL));
        } else if is_signed && !is_hidden && !is_project {
            rows.push(notebooks.row(Kind::Different, &path, None, NOT_MADE));
        } else {
            not_covered.push(path.display().to_string());
        }
    }
    if !not_covered.is_empty() {
        let folder = notebooks.folder.display();
        let names = listed(&not_covered);
        face.text(&format!(
            "{folder}: not of the run, and not checked: {names}"
        ));
    }
    Ok(capped(rows))
}

/// Says what is wrong with the folder of an exported record, where that is why there is none.
fn damaged_record(notebooks: &Notebooks, record: Option<&RunFolder>, path: &Path) -> Option<Row> {
    if record.is_some() || path != Path::new(EXPORTED_RECORD) {
        return None;
    }
    let whole = notebooks.folder.join(path);
    let (kind, within, what) = why_unread(&whole).filter(|_| whole.is_dir())?;
    let place = match within {
        "" => path.to_owned(),
        name => path.join(name),
    };
    Some(notebooks.row(kind, &place, None, what))
}

/// Returns whether that is a journal beside the folder of the record that the notebooks came with.
fn is_other_journal(notebooks: &Notebooks, record: Option<&RunFolder>, path: &Path) -> bool {
    let is_own = |record: &RunFolder| is_same(record.path(), &notebooks.folder);
    path == Path::new(RunFolder::JOURNAL)
        && why_unread(&notebooks.folder.join(EXPORTED_RECORD)).is_none()
        && !record.is_some_and(is_own)
}

/// Returns whether that is a hidden folder in which a project keeps its records, and one lies in it: any where the
/// notebooks were signed, one of their run where they were not.
fn hides_record(
    notebooks: &Notebooks,
    record: Option<&RunFolder>,
    path: &Path,
    is_signed: bool,
) -> bool {
    let runs = RunsFolder::of_project(&notebooks.folder).runs_path();
    if runs.parent() != Some(notebooks.folder.join(path).as_path()) {
        return false;
    }
    let run = record
        .and_then(|record| record.started().ok())
        .map(|started| started.run);
    let found = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let mut records = found.filter_map(|entry| RunFolder::at(&entry.path()).ok());
    records.any(|one| {
        let is_of = || {
            one.started()
                .is_ok_and(|started| Some(&started.run) == run.as_ref())
        };
        is_signed || is_of()
    })
}

/// The most files of a folder that are told one by one where nobody made them.
const MOST_ROWS: usize = 40;

/// Leaves out, of the files of each folder, those that are too many to be told one by one, and says how many.
pub(super) fn capped(rows: Vec<Row>) -> Vec<Row> {
    let mut told: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut kept: Vec<Row> = Vec::new();
    let mut last: BTreeMap<PathBuf, Row> = BTreeMap::new();
    for row in rows {
        let folder = Path::new(&row.place).parent().unwrap_or(Path::new(""));
        let folder = folder.to_owned();
        let count = told.entry(folder.clone()).or_default();
        *count += 1;
        if *count <= MOST_ROWS {
            kept.push(row);
        } else {
            last.insert(folder, row);
        }
    }
    for (folder, row) in last {
        let more = told.get(&folder).map_or(0, |count| count - MOST_ROWS);
        let place = match folder.as_os_str().is_empty() {
            true => ".".to_owned(),
            false => format!("{}/", folder.display()),
        };
        let what = format!("and {more} more: {}", row.what);
        kept.push(Row { place, what, ..row });
    }
    kept
}

/// Returns names as one line.
pub(super) fn listed(names: &[String]) -> String {
    let shown = names.iter().take(MOST).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Returns whether that is looked at elsewhere: notebooks and pictures, the folders in which files are
/// named by themselves, and an exported record where it is the one that counts.
fn is_judged(notebooks: &Notebooks, record: Option<&RunFolder>, path: &Path) -> bool {
    let whole = notebooks.folder.join(path);
    let is_in_seal = path.starts_with(SealFolder::NAME);
    let is_part = [CHARTS, SealFolder::NAME].map(Path::new).contains(&path) && whole.is_dir();
    let is_record = path == Path::new(EXPORTED_RECORD)
        && record.is_some_and(|record| is_same(record.path(), &whole));
    is_part || is_record || (is_page(path) && !is_in_seal)
}

/// Returns what is in the folder, in `charts/` and in `seal/`, as paths within it, in order.
fn entries(notebooks: &Notebooks) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for part in ["", CHARTS, SealFolder::NAME] {
        let folder = notebooks.folder.join(part);
        // What a link leads to is not of this folder. The folder that was named may be one.
        if !folder.is_dir() || (!part.is_empty() && folder.is_symlink()) {
            continue;
        }
        let failed = |error| code_deploy_record::Error::io("read", &folder)(error);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            found.push(Path::new(part).join(name));
        }
    }
    found.sort();
    Ok(found)
}
