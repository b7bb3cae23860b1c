//! Notebooks that a run has left in its project, and whose record is not here.

use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;
use code_deploy_notebook_gen::CHARTS;
use code_deploy_record::{EXPORTED_RECORD, RunId, SealFolder};

use super::notebooks::Notebooks;
use super::paths::{
    DEPLOYMENTS, entries, is_notebook, is_shown_folder, kept_by, run_of, why_unread,
};
use super::{Kind, Row};
use crate::failure::Failure;
use crate::project::Project;

/// How the name of a run begins: with the time at which it began.
const TIME: &str = "%Y%m%dT%H%M%S%3fZ";

/// Returns the notebooks that lie where runs of a project leave them, and of whose runs it keeps no record.
pub(super) fn all(project: &Project) -> Result<Vec<Notebooks>, Failure> {
    let (mut found, all) = (Vec::new(), project.folder.join(DEPLOYMENTS));
    if !all.is_dir() {
        return Ok(found);
    }
    for folder in entries(&all)? {
        if is_unrecorded(project, &folder)? {
            found.push(of_folder(&folder));
        }
    }
    Ok(found)
}

/// Returns the notebooks that a run has left which a project keeps no record of.
pub(super) fn of_run(project: &Project, run: &Path) -> Result<Option<Notebooks>, Failure> {
    let Some(run) = run.to_str().and_then(|name| name.parse::<RunId>().ok()) else {
        return Ok(None);
    };
    let folder = project.notebooks_of(&run);
    let is_here = is_unrecorded(project, &folder)?;
    Ok(is_here.then(|| of_folder(&folder)))
}

/// Says that the record is not here.
pub(super) fn row(notebooks: &Notebooks) -> Row {
    let run = notebooks.folder.file_name().unwrap_or_default();
    let place = format!("the record of {}", run.display());
    let what = "not here: this project keeps no record of the run that left these notebooks. It was removed, or is kept \
                elsewhere. `code-deploy verify RUN --notebooks FOLDER` checks both: if the record is kept elsewhere, \
                give its folder in place of RUN. To delete a run, remove both folders.";
    notebooks.row(Kind::NotHere, Path::new(&place), None, what)
}

fn of_folder(folder: &Path) -> Notebooks {
    Notebooks {
        is_unrecorded: true,
        ..Notebooks::whole(folder)
    }
}

/// Returns whether a folder holds pages of the run that it is called after, whose record is neither in the project nor
/// beside them. What the pages say of themselves may be gone: the form of the name is enough.
fn is_unrecorded(project: &Project, folder: &Path) -> Result<bool, Failure> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let Some(run) = name.and_then(|name| name.parse::<RunId>().ok()) else {
        return Ok(false);
    };
    let is_kept = kept_by(project, &run).is_some();
    if is_kept || !is_shown_folder(folder) || why_unread(&folder.join(EXPORTED_RECORD)).is_none() {
        return Ok(false);
    }
    let parts = [CHARTS, SealFolder::NAME].map(|name| folder.join(name));
    let found = entries(folder)?;
    let is_page = |path: &&Path| is_notebook(path) || parts.iter().any(|part| part == path);
    let is_of_run =
        |path: &Path| is_notebook(path) && run_of(path).is_some_and(|named| named == run.as_str());
    let mut pages = found.iter().map(PathBuf::as_path).filter(is_page);
    Ok(match is_dated(&run) {
        true => pages.next().is_some(),
        false => pages.any(is_of_run),
    })
}

/// Returns whether a name has the form of those that runs get.
pub(super) fn is_dated(run: &RunId) -> bool {
    let time = run.as_str().split('-').next().unwrap_or_default();
    NaiveDateTime::parse_from_str(time, TIME).is_ok()
}
