//! What lies in the folder of a record and is named by nothing in it.

use std::collections::BTreeSet;
use std::path::Path;

use super::{FindingKind, Named, VerifyReport};
use crate::disk::is_incidental;
use crate::folder::entries_or_none;
use crate::{Digest, Result, RunFolder, SealFolder};

/// The folders whose files the journal names, or that hold what was signed over it.
const OWN: [&str; 3] = ["samples", "evidence", SealFolder::NAME];

/// What the program keeps in the folder of a run while it works, beside the record: logs of what runs
/// locally, copies of databases, trials of a build, and how to reach the process that carries it out.
const FOLDERS: [&str; 3] = ["logs", "backups", "scratch"];
const FILES: [&str; 2] = ["control", "control.part"];

/// What a client last said of itself while it sent. What it counted stands in the journal.
const STATUS: &str = ".status.json";

/// How the name of a file begins that a client was writing when it was killed.
const TEMPORARY: &str = ".tmp";

/// In a sealed record every file of its folder is named, but for what the program keeps beside it; one
/// that is not was added later, or left behind by a process that was killed before it could name it.
pub(super) fn find(
    run: &RunFolder,
    named: &Named,
    is_sealed: bool,
    report: &mut VerifyReport,
) -> Result<()> {
    for name in names(run, &run.samples_path())? {
        let place = format!("samples/{name}");
        if named.samples.contains(&name) {
            continue;
        } else if name.ends_with(STATUS) || is_temporary(&name) || is_incidental(&name) {
            report.not_part.push(place);
        } else if is_sealed {
            not_named(report, place);
        }
    }
    let expected: BTreeSet<String> = named.evidence.iter().map(Digest::to_string).collect();
    for name in run.evidence().names()? {
        let place = format!("evidence/{name}");
        if is_incidental(&name) {
            report.not_part.push(place);
        } else if is_sealed && !expected.contains(&name) {
            not_named(report, place);
        }
    }
    for name in names(run, run.path())? {
        let path = run.path().join(&name);
        let is_folder = run.disk().is_folder(&path);
        if name == RunFolder::JOURNAL || (is_folder && OWN.contains(&name.as_str())) {
            continue;
        } else if is_folder && FOLDERS.contains(&name.as_str()) {
            if !entries_or_none(run.disk().as_ref(), &path)?.is_empty() {
                report.not_part.push(format!("{name}/"));
            }
        } else if !is_folder && is_beside(&name) {
            report.not_part.push(name);
        } else if is_sealed {
            not_named(report, if is_folder { format!("{name}/") } else { name });
        }
    }
    Ok(())
}

fn not_named(report: &mut VerifyReport, place: String) {
    const WHAT: &str = "the journal does not name it";
    report.found(FindingKind::NotNamed, place, WHAT);
}

/// Returns whether a file of that name is one that the program keeps beside the record.
fn is_beside(name: &str) -> bool {
    let number = name
        .strip_prefix("client-")
        .and_then(|rest| rest.strip_suffix(".json"));
    let is_configuration = number.is_some_and(|number| number.parse::<u32>().is_ok());
    is_configuration || FILES.contains(&name) || is_temporary(name) || is_incidental(name)
}

/// Returns whether a client was writing that when it was killed. What ends as samples do is never taken for that.
fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY) && !name.ends_with(".jsonl")
}

fn names(run: &RunFolder, folder: &Path) -> Result<Vec<String>> {
    let entries = entries_or_none(run.disk().as_ref(), folder)?.into_iter();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}
