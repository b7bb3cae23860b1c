//! How to go back from where the run stands.

use code_deploy_record::{Column, Direction, Outcome, Report, RunOutcome};

use crate::facts::Facts;
use crate::format::{clock, count, counted, duration};
use crate::view::columns;

pub(super) fn rollback(facts: &Facts) -> Report {
    let report = Report::new().with_text(standing(facts));
    let report = undo(facts, report);
    let report = measured(facts, report);
    carried_out(facts, report)
}

fn standing(facts: &Facts) -> String {
    let started = &facts.started;
    let from = started.from.as_ref();
    match (facts.state.finished.as_ref().map(|(o, ..)| *o), from) {
        (Some(RunOutcome::RolledBack), Some(from)) => {
            format!("Everything runs on {from} again; there is nothing to go back from.")
        }
        (Some(RunOutcome::RolledBack), None) => {
            "The first release was taken away again; there is nothing to go back from.".to_owned()
        }
        (Some(RunOutcome::Refused), _) => {
            "Nothing was changed; there is nothing to go back from.".to_owned()
        }
        (_, None) => format!(
            "{} is the first release: there is no earlier one to go back to. Going back means to \
             take it away.",
            started.to
        ),
        (_, Some(from)) => format!(
            "The steps below go back from {} to {from}, last first. Each is verified from inside \
             and outside before the next begins.",
            started.to
        ),
    }
}

fn undo(facts: &Facts, report: Report) -> Report {
    let steps = facts.state.to_undo();
    let nothing_left = matches!(
        facts.state.finished.as_ref().map(|(outcome, ..)| *outcome),
        Some(RunOutcome::RolledBack | RunOutcome::Refused)
    );
    if steps.is_empty() || nothing_left {
        return report.with_text("No step of this run is left to be undone.");
    }
    let rows = steps.iter().enumerate().map(|(place, step)| {
        let planned = facts.state.planned(step);
        let text = planned.and_then(|planned| planned.undo.clone());
        let none = "changes nothing that has to be taken back";
        let took = facts
            .state
            .steps
            .get(step)
            .and_then(|state| state.duration_us);
        vec![
            (place + 1).to_string(),
            step.to_string(),
            text.unwrap_or_else(|| none.to_owned()),
            took.map(duration).unwrap_or_default(),
        ]
    });
    let mut titles = vec![Column::number("Order")];
    titles.extend(columns(["Step", "What its undo does"]));
    titles.push(Column::number("Forward it took"));
    report.with_table("Undo, in order", titles, rows.collect())
}

fn measured(facts: &Facts, report: Report) -> Report {
    if facts.rehearsals.is_empty() {
        let why = if facts.started.from.is_none() {
            "not applicable, because no release ran before"
        } else {
            "not reached in this run"
        };
        return report.with_text(format!("Rehearsal of the rollback: {why}."));
    }
    let rows = facts.rehearsals.iter().map(|rehearsal| {
        vec![
            clock(rehearsal.time),
            duration(rehearsal.what.duration_us),
            count(rehearsal.what.failed),
            count(rehearsal.what.answered),
            rehearsal.seq.to_string(),
        ]
    });
    let mut titles = columns(["Time (UTC)"]);
    let numbers = [
        "All traffic back in",
        "Failed meanwhile",
        "Answered meanwhile",
        "Event",
    ];
    titles.extend(numbers.into_iter().map(Column::number));
    report.with_table("Rehearsal, as measured", titles, rows.collect())
}

fn carried_out(facts: &Facts, mut report: Report) -> Report {
    for (began, end) in facts.rollbacks.iter().zip(
        facts
            .rollback_ends
            .iter()
            .map(Some)
            .chain(std::iter::repeat(None)),
    ) {
        let (trigger, reason) = &began.what;
        let trigger = format!("{trigger:?}").to_lowercase();
        let end = match end {
            Some(end) if end.what.0 == Outcome::Done => {
                format!(
                    "done at {} UTC after {}",
                    clock(end.time),
                    duration(end.what.1)
                )
            }
            Some(end) => format!("not brought to its end: failed at {} UTC", clock(end.time)),
            None => "still under way".to_owned(),
        };
        let undone = facts
            .steps
            .iter()
            .filter(|step| step.what.direction == Direction::Undo);
        let undone = u64::try_from(undone.count()).unwrap_or(u64::MAX);
        report = report.with_text(format!(
            "This run went back at {} UTC (set off by {trigger}): {reason} It was {end}; {} undone.",
            clock(began.time),
            counted(undone, "step")
        ));
    }
    report
}
