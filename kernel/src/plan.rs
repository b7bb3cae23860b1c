//! `plan`: the plan without a run, and what is different from an earlier one.

use std::collections::BTreeMap;

use code_deploy_engine::foresight::{self, Foreseen};
use code_deploy_engine::plan::Plan;
use code_deploy_record::{Column, Finding, PlannedStep, Report, RunFolder};

use crate::failure::{Exit, Failure};
use crate::session::{Session, Wish, open_in_words};

/// Shows the plan that a run would have now. Changes nothing, not even a record.
///
/// # Errors
/// What keeps a run from beginning now; a section that there is not.
pub async fn show(session: &Session, wish: &Wish, section: Option<&str>) -> Result<Exit, Failure> {
    session
        .refuse_unknown_section(wish, "plan", section)
        .await?;
    if let Some(section) = section.filter(|section| *section != "steps") {
        return show_section(session, section);
    }
    let foreseen = session.foresee_changes(wish).await;
    let (plan, foreseen, outlook) =
        foreseen.map_err(|refusal| crate::run::with_changes(session, wish, refusal))?;
    if let Some((_, state)) = session.open_run()?
        && let Some(open) = open_in_words(&state)
    {
        let text = format!("{open} What is deployed now goes on with it: this is its plan.");
        session.face.text(&text);
    }
    let steps = plan.planned();
    // What a target cannot do at all has refused the plan by now.
    let told = session.target.cannot_honour(&session.spec).into_iter();
    let told: Vec<_> = told.map(|limit| limit.finding).collect();
    let value = serde_json::json!({
        "digest": plan.digest, "foreseen": foreseen, "told": told, "notes": session.spec.compose_notes, "steps": steps,
        "changes": outlook,
    });
    if !session.face.value("plan", &value) {
        let report = outlook.tell(report(&plan, &steps, &foreseen));
        let notes = &session.spec.compose_notes;
        session.face.report("Plan", &tell(report, notes, &told));
    }
    Ok(Exit::Done)
}

/// Returns whether a run is open whose first phase was begun by hand and is not done: `plan` ends it.
///
/// # Errors
/// When the folder of the runs cannot be read.
pub fn is_under_way(session: &Session) -> Result<bool, Failure> {
    let phase = code_deploy_engine::runner::phase_of("plan")?;
    let open = session.open_run()?;
    Ok(open.is_some_and(|(_, state)| {
        let begun = state.phases.contains_key(&phase) && state.rollback.is_none();
        begun && !state.phase_done(phase)
    }))
}

/// Shows a section that only a run can fill in, as the run that is open has it.
fn show_section(session: &Session, section: &str) -> Result<Exit, Failure> {
    let Some((folder, _)) = session.open_run()? else {
        let what = format!("section `{section}` of the plan is made by a run, and none is open");
        let next = "`code-deploy plan` shows every step without a run; in a notebook, \
                    `%code-deploy dev local` begins one.";
        return Err(Failure::refused("CD0311", what, next));
    };
    crate::run::show_sections(session, &folder, "plan", Some(section))?;
    Ok(Exit::Done)
}

fn report(plan: &Plan, steps: &[PlannedStep], foreseen: &[Foreseen]) -> Report {
    let expected: u64 = steps.iter().map(|step| step.expected_ms).sum();
    let changing = steps.iter().filter(|step| step.changes).count();
    let text = format!(
        "{} steps, {changing} of which change something; expected to take at most {:.0} s. Digest {}.",
        steps.len(),
        expected as f64 / 1e3,
        plan.digest
    );
    let columns = vec![
        Column::text("Phase"),
        Column::text("Step"),
        Column::text("What it does"),
        Column::text("Undo"),
        Column::text("Verified inside by"),
        Column::text("Verified outside by"),
        Column::number("Expected (s)"),
    ];
    let rows = steps.iter().map(|step| {
        vec![
            step.phase.to_string(),
            step.step.to_string(),
            step.title.clone(),
            step.undo
                .clone()
                .unwrap_or_else(|| "changes nothing".to_owned()),
            step.inside.clone(),
            step.outside.clone(),
            format!("{:.1}", step.expected_ms as f64 / 1e3),
        ]
    });
    foresight::tell(Report::new().with_text(text), foreseen).with_table(
        "Steps in order",
        columns,
        rows.collect(),
    )
}

/// Adds to a report what is to be known of the Compose file, and what this target does in a way of its own.
fn tell(mut report: Report, notes: &[String], told: &[Finding]) -> Report {
    for note in notes {
        report = report.with_text(format!("Of the Compose file: {note}."));
    }
    if told.is_empty() {
        return report;
    }
    let columns = ["Where", "What", "What to do about it"].map(Column::text);
    let rows = told
        .iter()
        .map(|one| vec![one.place.clone(), one.message.clone(), one.cure.clone()]);
    report.with_table(
        "What this target does in its own way",
        columns.to_vec(),
        rows.collect(),
    )
}

/// Shows what is different between the plan of an earlier run and the one a run would have now.
///
/// # Errors
/// When no plan can be made, or the earlier run has none.
pub async fn diff(session: &Session, wish: &Wish, before: &RunFolder) -> Result<Exit, Failure> {
    let now = session.plan(wish).await?;
    let state = before.state()?;
    let Some(planned) = &state.plan else {
        let what = format!("the run in {} has no plan", before.path().display());
        return Err(Failure::refused(
            "CD0309",
            what,
            "Name a run that came past its plan.",
        ));
    };
    if planned.digest == now.digest {
        session
            .face
            .text(&format!("The plans are the same: {}.", now.digest));
        return Ok(Exit::Done);
    }
    let steps = now.planned();
    let old: BTreeMap<_, _> = planned
        .steps
        .iter()
        .map(|step| (&step.step, step))
        .collect();
    let new: BTreeMap<_, _> = steps.iter().map(|step| (&step.step, step)).collect();
    let mut rows = Vec::new();
    for (name, step) in &new {
        match old.get(name) {
            None => rows.push(vec![
                "added".to_owned(),
                name.to_string(),
                step.title.clone(),
            ]),
            Some(before) if before != step => {
                let what = changed(before, step).join("; ");
                rows.push(vec!["changed".to_owned(), name.to_string(), what]);
            }
            Some(_) => {}
        }
    }
    for (name, step) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        rows.push(vec![
            "removed".to_owned(),
            name.to_string(),
            step.title.clone(),
        ]);
    }
    let text = format!(
        "Digest {} then, {} now.",
        planned.digest.short(),
        now.digest.short()
    );
    let columns = vec![
        Column::text("Change"),
        Column::text("Step"),
        Column::text("What"),
    ];
    let report = Report::new()
        .with_text(text)
        .with_table("Steps that differ", columns, rows);
    session.face.report("Plan against an earlier run", &report);
    Ok(Exit::Done)
}

fn changed(before: &PlannedStep, now: &PlannedStep) -> Vec<String> {
    let undo = |step: &PlannedStep| step.undo.clone().unwrap_or_else(|| "none".to_owned());
    let pairs = [
        ("title", before.title.clone(), now.title.clone()),
        ("undo", undo(before), undo(now)),
        ("inside", before.inside.clone(), now.inside.clone()),
        ("outside", before.outside.clone(), now.outside.clone()),
        (
            "expected ms",
            before.expected_ms.to_string(),
            now.expected_ms.to_string(),
        ),
        (
            "items",
            format!("{:?}", before.items.len()),
            format!("{:?}", now.items.len()),
        ),
    ];
    let differing = pairs.into_iter().filter(|(_, before, now)| before != now);
    differing
        .map(|(name, before, now)| format!("{name}: {before} -> {now}"))
        .collect()
}
