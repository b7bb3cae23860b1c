//! What lies in the folder of a record and is named by nothing in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::folders::{EVIDENCE, NO_FOLDER, OWN, SAMPLES, kind};
use super::{FindingKind, Named, VerifyReport};
use crate::disk::{EntryKind, NoFile, is_incidental};
use crate::folder::entries_or_none;
use crate::{Digest, Result, RunFolder};

/// What the program keeps in the folder of a run while it works, beside the record: logs of what runs
/// locally, copies of databases, trials of a build, and how to reach the process that carries it out.
const FOLDERS: [&str; 3] = ["logs", "backups", "scratch"];
const FILES: [&str; 2] = ["control", "control.part"];

/// What a client last said of itself while it sent. What it counted stands in the journal.
const STATUS: &str = ".status.json";

/// How the name of a file begins that a client was writing when it was killed.
const TEMPORARY: &str = ".tmp";

/// In a sealed record every file of its folder is named, but for what the program keeps beside it; one
/// that is not was added later, or left behind by a process that was killed before it could name it. What
/// is no file or folder is written by nobody, also while the run goes on.
pub(super) fn find(
    run: &RunFolder,
    named: &Named,
    is_sealed: bool,
    report: &mut VerifyReport,
) -> Result<()> {
    let evidence: BTreeSet<String> = named.evidence.iter().map(Digest::to_string).collect();
    let of_client =
        |name: &str| name.ends_with(STATUS) || is_temporary(name) || is_incidental(name);
    let mut found = Vec::new();
    if !named.unread.contains(SAMPLES) {
        found.extend(within(run, SAMPLES, &named.samples, of_client)?);
    }
    if !named.unread.contains(EVIDENCE) {
        found.extend(within(run, EVIDENCE, &evidence, is_incidental)?);
    }
    for beside in found.into_iter().chain(at_top(run)?) {
        let Beside { place, kind } = beside;
        match kind {
            Standing::Known => report.not_part.push(place),
            Standing::No(what) => report.found(FindingKind::NotNamed, place, what),
            Standing::Unknown if is_sealed => {
                let what = "the journal does not name it";
                report.found(FindingKind::NotNamed, place, what);
            }
            Standing::Unknown => {}
        }
    }
    Ok(())
}

/// What lies in the folder of a record, and the journal does not name.
struct Beside {
    /// Relative to the record's folder.
    place: String,
    kind: Standing,
}

enum Standing {
    /// The program or a system writes files of that name.
    Known,
    /// The name says nothing. While the run goes on the journal may still name it.
    Unknown,
    /// Nobody writes such a thing: why not.
    No(&'static str),
}

/// Returns what lies in a folder whose files the journal names, and is not named.
fn within(
    run: &RunFolder,
    folder: &str,
    named: &BTreeSet<String>,
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<Beside>> {
    let mut found = Vec::new();
    for (name, path) in names(run, &run.path().join(folder))? {
        let Some(kind) = kind(run, &path)?.filter(|_| !named.contains(&name)) else {
            continue;
        };
        let kind = match kind {
            EntryKind::File if is_known(&name) => Standing::Known,
            EntryKind::Folder if is_known(&name) => Standing::No(NoFile::WHAT),
            EntryKind::File | EntryKind::Folder => Standing::Unknown,
            EntryKind::Other => Standing::No(NoFile::WHAT),
        };
        let place = format!("{folder}/{name}");
        found.push(Beside { place, kind });
    }
    Ok(found)
}

/// Returns what lies in the folder of the record itself, beside the journal and its own folders.
fn at_top(run: &RunFolder) -> Result<Vec<Beside>> {
    let mut found = Vec::new();
    for (name, path) in names(run, run.path())? {
        if name == RunFolder::JOURNAL || OWN.contains(&name.as_str()) {
            continue;
        }
        let Some(kind) = kind(run, &path)? else {
            continue;
        };
        let is_own_folder = FOLDERS.contains(&name.as_str());
        let (is_folder, is_known) = (kind == EntryKind::Folder, is_beside(&name));
        let kind = match kind {
            EntryKind::Folder if is_own_folder => {
                if entries_or_none(run.disk().as_ref(), &path)?.is_empty() {
                    continue;
                }
                Standing::Known
            }
            EntryKind::File if is_known => Standing::Known,
            EntryKind::Folder if is_known => Standing::No(NoFile::WHAT),
            EntryKind::File | EntryKind::Folder => Standing::Unknown,
            EntryKind::Other if is_own_folder => Standing::No(NO_FOLDER),
            EntryKind::Other => Standing::No(NoFile::WHAT),
        };
        let place = if is_folder { format!("{name}/") } else { name };
        found.push(Beside { place, kind });
    }
    Ok(found)
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

/// Returns what is in a folder, by name: in words, and as the system has it.
fn names(run: &RunFolder, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = entries_or_none(run.disk().as_ref(), folder)?.into_iter();
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some((name, path))
    };
    let mut names: Vec<_> = entries.filter_map(named).collect();
    names.sort();
    Ok(names)
}
