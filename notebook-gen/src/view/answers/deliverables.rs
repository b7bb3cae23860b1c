//! The answers of the notebooks that are no phase's.

use code_deploy_record::{Block, Direction, Gate, GateCheck, Outcome, RunOutcome, StepStatus};

use super::{alerting, capital, findings, gate, number_of, rows, section, without_result};
use crate::Result;
use crate::facts::Facts;
use crate::format::{count, counted, duration};
use crate::passed;
use crate::view::rollback::{going_back_now, rehearsed};
use crate::view::steps::of_limit;
use crate::view::{items, lessons, objectives, overview, tally, verdict};

pub(super) fn answer(facts: &Facts, name: &str) -> Result<String> {
    Ok(match name {
        "Deployment_Execution_Log" => log(facts),
        "System_Health_Dashboard" => health(facts),
        "Performance_Validation" => performance(facts),
        "Security_Audit_Report" => security(facts)?,
        "Monitoring_Configuration" => monitoring(facts),
        "Operational_Runbooks" => runbooks(facts),
        "Rollback_Procedures" => rollback(facts),
        "Post_Deployment_Report" => report(facts),
        "Lessons_Learned" => lessons(facts),
        _ => verdict(facts),
    })
}

fn log(facts: &Facts) -> String {
    let steps = &facts.state.steps;
    let of = |wanted: &[StepStatus]| {
        let own = steps.values().filter(|step| wanted.contains(&step.status));
        own.count()
    };
    let seal = match (&facts.state.key, facts.state.sealed) {
        (Some(key), true) => format!("the record is complete and sealed with key {}", key.name()),
        (None, true) => "the record is complete, and no key seals it".to_owned(),
        (_, false) => "the record is not closed".to_owned(),
    };
    format!(
        "{} in {}: of {}, {} done, {} failed, {} undone; {seal}.",
        capital(&counted(facts.state.events, "event")),
        passed::in_words(&facts.whole()),
        counted(number_of(steps.len()), "step"),
        of(&[StepStatus::Done]),
        of(&[StepStatus::Failed, StepStatus::UndoFailed]),
        of(&[StepStatus::Undone])
    )
}

fn health(facts: &Facts) -> String {
    let release = facts.final_release().unwrap_or(&facts.started.to);
    let own = facts.state.health.iter();
    let own: Vec<bool> = own
        .filter(|((_, of, ..), _)| of == release)
        .map(|(_, healthy)| *healthy)
        .collect();
    if own.is_empty() {
        return format!("No instance of {release} was probed in this run.");
    }
    let passing = own.iter().filter(|passes| **passes).count();
    format!(
        "{passing} of {} of {release} passed when last asked; {}.",
        counted(number_of(own.len()), "probe"),
        overview::live(facts)
    )
}

/// Returns the checks of objectives as the baseline gate made them last.
fn checks(facts: &Facts) -> Vec<&GateCheck> {
    let answers = facts.last_answers(Gate::Baseline);
    let checks = answers
        .into_iter()
        .flat_map(|answer| answer.what.checks.iter());
    checks
        .filter(|check| objectives::is_of_objective(check))
        .collect()
}

/// Counts the objectives that are met and those that few requests do not show, and names the one that came nearest to
/// its limit.
pub(super) fn objectives(facts: &Facts) -> String {
    let checks = checks(facts);
    if checks.is_empty() {
        return match facts.last_answers(Gate::Baseline).is_empty() {
            true => "no objective was measured: the baseline gate was not asked".to_owned(),
            false => "no objective was measured: the baseline gate held none".to_owned(),
        };
    }
    let met = checks.iter().filter(|check| check.is_met()).count();
    let few = checks.iter().filter(|check| check.unshown.is_some());
    let few = match few.count() {
        0 => String::new(),
        number => format!(", {number} not shown (too few requests)"),
    };
    let told = checks
        .iter()
        .filter_map(|check| Some((check.used?, *check)));
    let nearest = told.max_by(|one, other| one.0.total_cmp(&other.0));
    let nearest = nearest.map_or_else(String::new, |(_, check)| {
        format!(
            ", nearest to its limit \"{}\" ({} measured, {} asked for)",
            check.name, check.measured, check.limit
        )
    });
    format!(
        "{met} of {} met{few}{nearest}",
        counted(number_of(checks.len()), "objective")
    )
}

fn performance(facts: &Facts) -> String {
    let loads = match facts.loads.len() {
        0 => "no load test ended".to_owned(),
        number => {
            let failed: u64 = facts.loads.iter().map(|load| load.what.failed).sum();
            let sent: u64 = facts.loads.iter().map(|load| load.what.sent).sum();
            format!(
                "{} sent {}, of which {} failed",
                counted(number_of(number), "load test"),
                counted(sent, "request"),
                count(failed)
            )
        }
    };
    let baseline = match facts.last_answers(Gate::Baseline).is_empty() {
        true => String::new(),
        false => format!("; {}", gate(facts, Gate::Baseline)),
    };
    format!("{}; {loads}{baseline}.", capital(&objectives(facts)))
}

fn security(facts: &Facts) -> Result<String> {
    let (lines, tally) = items::security_lines(facts)?;
    Ok(format!(
        "{}; {}; of {} on security, {tally}.",
        capital(&findings(facts.findings.iter())),
        gate(facts, Gate::Security),
        counted(number_of(lines.len()), "item")
    ))
}

fn monitoring(facts: &Facts) -> String {
    let scraped = rows(facts, 7, "metrics");
    let configured = match without_result(facts, 7) {
        None => format!(
            "{} of metrics configured, {}",
            counted(scraped, "endpoint"),
            alerting(facts)
        ),
        Some(why) => format!("monitoring was not configured to the end: {why}"),
    };
    format!(
        "{}; {}.",
        capital(&configured),
        gate(facts, Gate::Monitoring)
    )
}

/// Counts what was handed over to be read in need.
pub(super) fn runbooks_counted(facts: &Facts) -> String {
    let blocks = section(facts, 9, "runbooks").map(|report| report.blocks.as_slice());
    let captions = blocks
        .unwrap_or_default()
        .iter()
        .filter_map(|block| match block {
            Block::Code { caption, .. } => Some(caption.as_str()),
            _ => None,
        });
    let captions: Vec<&str> = captions.collect();
    let of = |start: &str| {
        let own = captions.iter().filter(|caption| caption.starts_with(start));
        number_of(own.count())
    };
    let (services, alerts) = (of("runbook of service "), of("runbook of alert "));
    let guides = number_of(captions.len()) - services - alerts;
    match captions.is_empty() {
        true => "no runbook".to_owned(),
        false => format!(
            "runbooks of {} and {}, and {}",
            counted(services, "service"),
            counted(alerts, "alert"),
            counted(guides, "guide")
        ),
    }
}

fn runbooks(facts: &Facts) -> String {
    let contacts = match rows(facts, 9, "contacts") {
        0 => "no contact to call is in the record".to_owned(),
        number => format!("{} to call", counted(number, "contact")),
    };
    let counts = capital(&runbooks_counted(facts));
    match without_result(facts, 9) {
        None => format!("{counts}; {contacts}."),
        Some(why) => format!("{counts}; {contacts}; of the handover: {why}."),
    }
}

fn rollback(facts: &Facts) -> String {
    let (from, to) = (&facts.started.from, &facts.started.to);
    let outcome = facts.state.finished.as_ref().map(|(outcome, ..)| *outcome);
    match (outcome, from) {
        (Some(RunOutcome::Refused), _) => {
            "There is nothing to go back from: the run was refused before it changed anything."
                .to_owned()
        }
        (Some(RunOutcome::RolledBack), _) => gone_back(facts),
        (Some(RunOutcome::Succeeded), None) => {
            format!(
                "There is no way back: {to} is the first release, so no earlier one can be deployed."
            )
        }
        (Some(RunOutcome::Succeeded), Some(from)) if facts.started.reverts.is_some() => {
            format!(
                "This run is itself a way back, from {from} to {to}; another release is deployed by name."
            )
        }
        (Some(RunOutcome::Succeeded), Some(from)) => format!(
            "There is a way back from {to} to {from}. Rehearsal: {}{}.",
            rehearsal(facts),
            going_back_now(facts)
        ),
        (Some(RunOutcome::Abandoned), _) => {
            "There is no way back by this run: a person has ended it and answers for what runs."
                .to_owned()
        }
        (None | Some(RunOutcome::NeedsPerson), _) => format!(
            "There is a way back while the run is under way: the undo of {}. Rehearsal: {}.",
            counted(number_of(facts.state.to_undo().len()), "step"),
            rehearsal(facts)
        ),
    }
}

fn gone_back(facts: &Facts) -> String {
    let took = facts.rollback_ends.last();
    let took = took.map_or_else(String::new, |end| {
        format!(" in {}", passed::in_words(&facts.passed_going_back(end)))
    });
    let undone = facts.steps.iter().filter(|step| {
        step.what.direction == Direction::Undo && step.what.outcome == Outcome::Done
    });
    format!(
        "The run has gone back{took}: {} undone; {}.",
        counted(number_of(undone.count()), "step"),
        overview::live(facts)
    )
}

fn rehearsal(facts: &Facts) -> String {
    rehearsed(facts).unwrap_or_else(|| "none was made".to_owned())
}

fn report(facts: &Facts) -> String {
    let criteria = overview::criteria_counted(facts)
        .unwrap_or_else(|| "drawn up when the run ends".to_owned());
    format!(
        "Criteria of a finished run: {criteria}; {}; items: {}.",
        objectives(facts),
        tally(facts)
    )
}

fn lessons(facts: &Facts) -> String {
    let steps = facts.steps.iter();
    let spent = steps.map(|step| (passed::spent(&facts.passed_by(step)), &step.what.step));
    let slowest = spent.max_by_key(|(took, _)| *took).map_or_else(
        || "No step has ended".to_owned(),
        |(took, step)| format!("The longest step was {step} with {} spent", duration(took)),
    );
    let bad = facts
        .steps
        .iter()
        .filter(|step| step.what.outcome != Outcome::Done || step.what.attempts > 1);
    let gates = facts.gates.iter().filter(|gate| !gate.what.passed);
    let nearest = lessons::nearest_checks(facts);
    let nearest = nearest.first().map_or_else(
        || "no check of a passed gate has a figure".to_owned(),
        |(used, _, check)| {
            let share = of_limit(Some(*used));
            format!(
                "nearest to its limit came \"{}\", at {share} of it",
                check.name
            )
        },
    );
    format!(
        "{slowest}; {} failed or retried; {} of gates without a pass; {nearest}.",
        counted(number_of(bad.count()), "step"),
        counted(number_of(gates.count()), "answer")
    )
}
