//! Of which run a record, and notebooks, are.

use std::path::Path;

use code_deploy_record::{
    EXPORTED_RECORD, Release, RunFolder, RunId, RunStarted, RunsFolder, SignedStatement,
};
use serde_json::{Value, json};

use super::notebooks::Notebooks;
use super::paths::place;
use super::unrecorded::is_dated;
use super::{Kind, Row};
use crate::failure::Failure;

/// Says of which run a record is.
pub(super) fn words(started: &RunStarted) -> String {
    let from = started.from.as_ref().map(Release::as_str);
    let releases = releases(from, started.to.as_str());
    format!(
        "run {} of {}, {} on {}, {releases}",
        started.run, started.application, started.environment, started.target
    )
}

/// Says of which run a signed statement says that it is; nothing where it does not.
pub(super) fn words_of(signed: &SignedStatement) -> Option<String> {
    let statement: Value = serde_json::from_slice(signed.statement()).ok()?;
    let predicate = statement.get("predicate")?;
    let text = |key: &str| predicate.get(key).and_then(Value::as_str);
    let [run, application, environment, target] =
        ["run", "application", "environment", "target"].map(text);
    let releases = releases(text("from"), text("to")?);
    Some(format!(
        "run {} of {}, {} on {}, {releases}",
        run?, application?, environment?, target?
    ))
}

fn releases(from: Option<&str>, to: &str) -> String {
    match from {
        Some(from) => format!("from {from} to {to}"),
        None => format!("{to} as the first release"),
    }
}

/// Returns the same as [`words`] for machines.
pub(super) fn value(started: &RunStarted) -> Value {
    json!({
        "run": started.run, "application": started.application, "environment": started.environment,
        "target": started.target, "from": started.from, "to": started.to,
    })
}

/// Says that a record lies where that of another run should; nothing where it does not, or its folder has a name of no run.
pub(super) fn misplaced(record: &RunFolder, started: &RunStarted) -> Option<String> {
    let named = named_by_place(record).filter(|named| *named != started.run)?;
    Some(format!(
        "this is the record of run {}, in the place of that of run {named}: it says nothing of that run",
        started.run
    ))
}

/// Says that notebooks lie in the folder of another run, where the record of that run is not here to show it.
pub(super) fn misplaced_notebooks(notebooks: &Notebooks) -> Result<Option<Row>, Failure> {
    let Some(named) = notebooks.called_after().filter(is_dated) else {
        return Ok(None);
    };
    let is_shown = |record: RunFolder| record.started().is_ok_and(|one| one.run == named);
    if notebooks.own_record().is_some_and(is_shown) {
        return Ok(None);
    }
    let Some((path, run)) = notebooks.said()? else {
        return Ok(None);
    };
    let what =
        format!("not of this run: it says that it is of {run}, in the folder of run {named}");
    let name = path.file_name().map_or(path.as_path(), Path::new);
    Ok((run != named.as_str()).then(|| notebooks.row(Kind::Different, name, None, what)))
}

/// Returns the run after which the place of a record is called. How somebody calls a link, or the folder of an export,
/// says nothing, unless it has the form of a run's name.
fn named_by_place(record: &RunFolder) -> Option<RunId> {
    let real = record.path().canonicalize().ok()?;
    let linked = place(record.path()).filter(|path| *path != real);
    let of_link = linked.and_then(|path| called_after(&path)).filter(is_dated);
    of_link.or_else(|| {
        let named = called_after(&real)?;
        (is_in_project(&real) || is_dated(&named)).then_some(named)
    })
}

/// Returns the run after which the folder of a project's record is called, or the one around an exported record.
fn called_after(record: &Path) -> Option<RunId> {
    let folder = if is_in_project(record) {
        record
    } else if record.file_name()? == EXPORTED_RECORD {
        record.parent()?
    } else {
        return None;
    };
    folder.file_name()?.to_str()?.parse().ok()
}

/// Returns whether a record lies where a project keeps those of its runs.
fn is_in_project(record: &Path) -> bool {
    let project = record.ancestors().nth(3);
    project.is_some_and(|project| {
        record.parent() == Some(RunsFolder::of_project(project).runs_path().as_path())
    })
}
