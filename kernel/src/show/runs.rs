//! `runs`: the runs of a project.

use code_deploy_record::{Column, Report};

use crate::face::Face;
use crate::failure::{Exit, Failure};
use crate::project::Project;

/// Lists the runs of a project, newest first.
pub fn runs(project: &Project, face: &dyn Face) -> Result<Exit, Failure> {
    let runs = project.all_runs()?;
    if runs.is_empty() {
        face.text("There are no runs yet.");
        return Ok(Exit::Done);
    }
    let mut rows = Vec::new();
    for (folder, state) in runs.into_iter().rev() {
        let Some(started) = &state.started else {
            continue;
        };
        let from = started
            .from
            .as_ref()
            .map_or("-".to_owned(), ToString::to_string);
        let outcome = match &state.finished {
            Some((outcome, ..)) => outcome.words().to_owned(),
            None if state.paused => "paused".to_owned(),
            None => "not ended".to_owned(),
        };
        let seconds = match (state.since, state.last) {
            (Some(since), Some(last)) => (last - since).num_milliseconds() as f64 / 1000.0,
            _ => 0.0,
        };
        let value = serde_json::json!({
            "run": started.run, "environment": started.environment, "target": started.target,
            "from": started.from, "to": started.to, "since": state.since, "outcome": outcome,
            "seconds": seconds, "folder": folder.path(),
        });
        if face.value("run", &value) {
            continue;
        }
        let since = state
            .since
            .map(|since| since.format("%Y-%m-%d %H:%M:%S").to_string());
        rows.push(vec![
            started.run.to_string(),
            since.unwrap_or_default(),
            format!("{} {}", started.environment, started.target),
            format!("{from} -> {}", started.to),
            outcome,
            format!("{seconds:.1}"),
        ]);
    }
    if rows.is_empty() {
        return Ok(Exit::Done);
    }
    let columns = vec![
        Column::text("Run"),
        Column::text("Began (UTC)"),
        Column::text("Where"),
        Column::text("Releases"),
        Column::text("Outcome"),
        Column::number("Length (s)"),
    ];
    face.report(
        "Runs",
        &Report::new().with_table("Newest first", columns, rows),
    );
    Ok(Exit::Done)
}
