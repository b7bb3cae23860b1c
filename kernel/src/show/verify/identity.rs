//! Of which run a record is.

use std::ffi::OsStr;
use std::path::Path;

use code_deploy_record::{RunFolder, RunId, RunStarted, RunsFolder};
use serde_json::{Value, json};

/// The folder of the runs of a project, in its own.
const RUNS: &str = "runs";

/// The folder of the record in an exported run.
const RECORD: &str = "record";

/// Says of which run a record is.
pub(super) fn words(started: &RunStarted) -> String {
    let RunStarted {
        run,
        application,
        environment,
        target,
        to,
        ..
    } = started;
    let releases = match &started.from {
        Some(from) => format!("from {from} to {to}"),
        None => format!("{to} as the first release"),
    };
    format!("run {run} of {application}, {environment} on {target}, {releases}")
}

/// Returns the same for machines.
pub(super) fn value(started: &RunStarted) -> Value {
    json!({
        "run": started.run, "application": started.application, "environment": started.environment,
        "target": started.target, "from": started.from, "to": started.to,
    })
}

/// Says that a record lies where that of another run should; nothing where it does not, or its folder has a name of no run.
pub(super) fn misplaced(record: &RunFolder, started: &RunStarted) -> Option<String> {
    let path = std::fs::canonicalize(record.path()).ok()?;
    let folder = named_for(&path)?.to_str()?;
    let named: RunId = folder.parse().ok()?;
    (named != started.run).then(|| {
        format!(
            "this is the record of run {}, in the place of that of run {named}: it says nothing of that run",
            started.run
        )
    })
}

/// Returns the name of the folder that is called as the run whose record it holds.
fn named_for(record: &Path) -> Option<&OsStr> {
    let parent = record.parent()?;
    let is_of_project = parent.file_name()? == RUNS
        && parent.parent().and_then(Path::file_name) == Some(OsStr::new(RunsFolder::NAME));
    if is_of_project {
        return record.file_name();
    }
    (record.file_name()? == RECORD)
        .then(|| parent.file_name())
        .flatten()
}
