//! `verify`: whether records, and notebooks made from them, are what was written.

use std::path::{Path, PathBuf};

use code_deploy_record::{Column, Report, RunFolder, verify_folder};

use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::project::Project;

/// Checks runs given by name or folder, or the last one; with `notebooks`, also that the
/// notebooks in that folder are those that the first run's record gives.
pub fn verify(
    project: Option<&Project>,
    runs: &[PathBuf],
    notebooks: Option<&Path>,
    face: &dyn Face,
) -> Result<Exit, Failure> {
    let folders = folders_of(project, runs)?;
    let (mut rows, mut unsealed) = (Vec::new(), 0_usize);
    for folder in &folders {
        let report = verify_folder(folder)?;
        let name = folder.path().display().to_string();
        let sealed = if report.sealed {
            "sealed"
        } else {
            unsealed += 1;
            "NOT SEALED"
        };
        let head = report.head.map(|head| head.short()).unwrap_or_default();
        let summary = format!(
            "{} events, {} evidence files, {} samples files, {sealed}, head {head}",
            report.events, report.evidence, report.samples
        );
        face.text(&format!("{name}: {summary}"));
        face.value(
            "verified",
            &serde_json::json!({
                "run": name, "events": report.events, "evidence": report.evidence,
                "samples": report.samples, "sealed": report.sealed, "head": report.head,
                "findings": report.findings.iter().map(|f| [&f.place, &f.what]).collect::<Vec<_>>(),
            }),
        );
        rows.extend(
            report
                .findings
                .into_iter()
                .map(|f| vec![name.clone(), f.place, f.what]),
        );
    }
    if let (Some(notebooks), Some(folder)) = (notebooks, folders.first()) {
        rows.extend(compare(project, folder, notebooks)?);
    }
    if rows.is_empty() && unsealed > 0 {
        let what = format!(
            "{unsealed} of {} records are not sealed: what stands there is as it was written, but \
             their end is missing",
            folders.len()
        );
        let next = "A run that is not ended is sealed when it ends. When it has ended, lines were \
                    cut off: compare with a copy kept elsewhere.";
        return Err(Failure::refused("CD0307", what, next));
    }
    if rows.is_empty() {
        face.text(
            "Everything is as it was written. The record is self-asserted: whoever can write the \
             folder could have written all of it anew.",
        );
        return Ok(Exit::Done);
    }
    let count = rows.len();
    let columns = vec![
        Column::text("Record"),
        Column::text("Where"),
        Column::text("What"),
    ];
    face.report(
        "What does not verify",
        &Report::new().with_table("Findings", columns, rows),
    );
    let what = format!("{count} places do not verify");
    Err(Failure::refused(
        code_deploy_engine::code::BROKEN_RECORD,
        what,
        "Compare with a copy kept elsewhere.",
    ))
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

fn compare(
    project: Option<&Project>,
    folder: &RunFolder,
    notebooks: &Path,
) -> Result<Vec<Vec<String>>, Failure> {
    let pages = crate::pages::executed(project, folder)?;
    let record = folder.path().display().to_string();
    let mut rows = Vec::new();
    for (name, expected) in crate::pages::files(&pages) {
        let path = notebooks.join(&name);
        let what = match std::fs::read(&path) {
            Ok(found) if found == expected => continue,
            Ok(_) => "it is not what the record gives".to_owned(),
            Err(error) => error.to_string(),
        };
        rows.push(vec![record.clone(), path.display().to_string(), what]);
    }
    Ok(rows)
}
