//! `verify`: whether records, and notebooks made from them, are what was written.

use std::path::{Path, PathBuf};

use code_deploy_notebook_gen::{self as notebook_gen, Origin};
use code_deploy_record::{Column, FindingKind, Report, RunFolder, VerifyReport, verify_folder};

use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::project::Project;

/// What a row of the table is about, from what weighs most to what weighs least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Not what was written, or not of the run.
    Different,
    /// Not there.
    NotHere,
    /// Made by another program or beside other runs: its bytes tell nothing.
    NotComparable,
}

/// A row of the table.
struct Row {
    kind: Kind,
    /// The folder of the record or of the notebooks.
    record: String,
    /// The place in it.
    place: String,
    what: String,
}

/// Checks runs given by name or folder, or the last one; with `notebooks`, also that the
/// notebooks and charts in that folder are those that the first run's record gives, and no others.
pub fn verify(
    project: Option<&Project>,
    runs: &[PathBuf],
    notebooks: Option<&Path>,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    if let Some(missing) = notebooks.filter(|folder| !folder.is_dir()) {
        let what = format!("there is no folder {}", missing.display());
        return Err(Failure::usage(what, "Name the folder of the notebooks."));
    }
    let folders = folders_of(project, runs)?;
    let (mut rows, mut unsealed) = (Vec::new(), 0_usize);
    for folder in &folders {
        let report = verify_folder(folder)?;
        let name = folder.path().display().to_string();
        unsealed += usize::from(!report.sealed);
        tell(face, &name, &report);
        rows.extend(report.findings.into_iter().map(|finding| Row {
            kind: match finding.kind {
                FindingKind::NotHere => Kind::NotHere,
                FindingKind::Changed | FindingKind::NotNamed => Kind::Different,
            },
            record: name.clone(),
            place: finding.place,
            what: finding.what,
        }));
    }
    if let (Some(notebooks), Some(folder)) = (notebooks, folders.first()) {
        let (files, differing) = compare(project, folder, notebooks)?;
        face.text(&format!(
            "{}: compared with the {files} notebooks and charts that the record gives",
            notebooks.display()
        ));
        rows.extend(differing);
    }
    judge(rows, unsealed, folders.len(), face)
}

fn tell(face: &dyn Face, name: &str, report: &VerifyReport) {
    let sealed = if report.sealed {
        "sealed"
    } else {
        "NOT SEALED"
    };
    let head = report.head.map(|head| head.short()).unwrap_or_default();
    let evidence = if report.evidence == report.evidence_named {
        format!("{} evidence files", report.evidence)
    } else {
        format!(
            "{} of {} evidence files",
            report.evidence, report.evidence_named
        )
    };
    face.text(&format!(
        "{name}: {} events, {evidence}, {} samples files, {sealed}, head {head}",
        report.events, report.samples
    ));
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|f| [&f.place, &f.what])
        .collect();
    face.value(
        "verified",
        &serde_json::json!({
            "run": name, "events": report.events, "evidence": report.evidence,
            "evidence_named": report.evidence_named, "samples": report.samples,
            "sealed": report.sealed, "head": report.head, "findings": findings,
        }),
    );
}

/// Says what came out, as what weighs most.
fn judge(
    mut rows: Vec<Row>,
    unsealed: usize,
    records: usize,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    rows.sort_by_key(|row| row.kind);
    let number = |kind: Kind| rows.iter().filter(|row| row.kind == kind).count();
    let (different, missing) = (number(Kind::Different), number(Kind::NotHere));
    let all = rows.len();
    if !rows.is_empty() {
        face.report("What does not verify", &findings(rows));
    }
    if different > 0 {
        let what = match different {
            1 => "1 place does not verify".to_owned(),
            more => format!("{more} places do not verify"),
        };
        let next = "Compare with a copy kept elsewhere.";
        return Err(Failure::refused(
            code_deploy_engine::code::BROKEN_RECORD,
            what,
            next,
        ));
    }
    if unsealed > 0 {
        let what = format!(
            "{unsealed} of {records} records are not sealed: what stands there is as it was \
             written, but their end is missing"
        );
        let next = "A run that is not ended is sealed when it ends. When it has ended, lines were \
                    cut off: compare with a copy kept elsewhere.";
        return Err(Failure::refused("CD0307", what, next));
    }
    if missing > 0 {
        let what = format!(
            "{} not here: what is here is as it was written, the rest cannot be checked",
            match missing {
                1 => "1 file is".to_owned(),
                more => format!("{more} files are"),
            }
        );
        let next = "Put them back from a copy of the whole folder, and verify again.";
        return Err(Failure::refused("CD0308", what, next));
    }
    if all > 0 {
        let what = format!(
            "the record is as it was written, but {all} notebooks and charts cannot be compared \
             with it: another program made them, or other runs were at hand. That does not say \
             that they were changed"
        );
        let next = "Verify with the program that made them, or write them again: `code-deploy \
                    notebooks --help`.";
        return Err(Failure::refused("CD0312", what, next));
    }
    face.text(
        "Everything is as it was written. The record is self-asserted: whoever can write the \
         folder could have written all of it anew.",
    );
    Ok(Exit::Done)
}

/// Returns a table for each record, whose folder is then said once.
fn findings(rows: Vec<Row>) -> Report {
    let mut of_record: Vec<(String, Vec<Vec<String>>)> = Vec::new();
    for row in rows {
        let line = vec![row.place, row.what];
        match of_record.iter_mut().find(|(name, _)| *name == row.record) {
            Some((_, lines)) => lines.push(line),
            None => of_record.push((row.record, vec![line])),
        }
    }
    let mut report = Report::new();
    for (record, lines) in of_record {
        let columns = ["Where", "What"].map(Column::text).to_vec();
        report = report.with_table(record, columns, lines);
    }
    report
}

fn folders_of(project: Option<&Project>, runs: &[PathBuf]) -> Result<Vec<RunFolder>, Failure> {
    if runs.is_empty() {
        let project = project.ok_or_else(|| {
            Failure::usage("there is no project here", "Name the folder of a run.")
        })?;
        return Ok(vec![project.run(None)?]);
    }
    let named = runs.iter().map(|run| {
        if run.is_dir() {
            return Ok(RunFolder::at(run)?);
        }
        match project {
            Some(project) => project.run(run.to_str()),
            None => Ok(RunFolder::at(run)?),
        }
    });
    named.collect()
}

/// Compares a folder with the notebooks and charts that the record gives: how many those are, and
/// what differs.
fn compare(
    project: Option<&Project>,
    folder: &RunFolder,
    notebooks: &Path,
) -> Result<(usize, Vec<Row>), Failure> {
    let pages = crate::pages::executed(project, folder)?;
    let beside = notebooks.display().to_string();
    let row = |path: &Path, (kind, what): (Kind, String)| Row {
        kind,
        record: beside.clone(),
        place: path.display().to_string(),
        what,
    };
    let mut rows = Vec::new();
    let mut reason: Option<String> = None;
    let files = notebook_gen::files(&pages);
    let count = files.len();
    for (path, expected) in files {
        match std::fs::read(notebooks.join(&path)) {
            Ok(found) if found == expected => {}
            Ok(found) => {
                let why = unlike(&found, &expected, reason.as_deref());
                if why.0 == Kind::NotComparable {
                    reason.get_or_insert_with(|| why.1.clone());
                }
                rows.push(row(&path, why));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                rows.push(row(&path, (Kind::NotHere, "not here".to_owned())));
            }
            Err(error) => rows.push(row(&path, (Kind::Different, error.to_string()))),
        }
    }
    let first = pages.first().map(|page| page.text.as_bytes());
    let own = first.and_then(|text| Origin::of(text)?.run);
    for path in crate::pages::others(&pages, notebooks)? {
        let origin = std::fs::read(notebooks.join(&path)).ok();
        let run = origin.and_then(|found| Origin::of(&found)?.run);
        let what = match run {
            Some(run) if own.as_ref() == Some(&run) => {
                "nothing of this name is made of the run".to_owned()
            }
            Some(run) => format!("not of this run: it says that it is of {run}"),
            None => "not of this run".to_owned(),
        };
        rows.push(row(&path, (Kind::Different, what)));
    }
    Ok((count, rows))
}

/// Says in what way a file is unlike the one that this program makes. A chart does not say who drew
/// it: it is judged as the notebooks beside it are.
fn unlike(found: &[u8], expected: &[u8], beside: Option<&str>) -> (Kind, String) {
    let changed = (
        Kind::Different,
        "changed: not what the record gives".to_owned(),
    );
    let Some(expected) = Origin::of(expected) else {
        return match beside {
            Some(why) => (Kind::NotComparable, format!("beside notebooks {why}")),
            None => changed,
        };
    };
    let Some(found) = Origin::of(found) else {
        return changed;
    };
    if found.run != expected.run {
        let run = found.run.unwrap_or_else(|| "no run".to_owned());
        let what = format!("not of this run: it says that it is of {run}");
        return (Kind::Different, what);
    }
    match found.unlike(&expected) {
        Some(why) => (Kind::NotComparable, why),
        None => changed,
    }
}
