//! What the reader of each notebook asks, answered in one sentence from the record. The verdict on the run stands
//! behind it.

mod deliverables;

use std::collections::BTreeMap;

use code_deploy_record::{
    Direction, Finding, Gate, ItemState, Outcome, PhaseNumber, Report, StepStatus, Verdict,
};

use crate::Result;
use crate::facts::{At, Facts};
use crate::format::{count, counted, duration};
use crate::passed;
use crate::view::steps::{belongs, outcome_word};
use crate::view::{approvals, items_of, overview, verdict_word};

/// The item that says whether the data of before is as it was.
const DATA: &str = "4.3.1";

/// The item that says whether anybody evaluates alerts.
const ALERTING: &str = "8.1.4";

/// Returns what a notebook says first.
///
/// # Errors
/// [`crate::Error::Record`] when the catalogue cannot be read.
pub(crate) fn answer(facts: &Facts, name: &str) -> Result<String> {
    Ok(match name {
        "01_Deployment_Plan" => plan(facts),
        "02_Pre_Deployment_Validation" => validation_before(facts)?,
        "03_Build_Process" => build(facts)?,
        "04_Infrastructure_Setup" => infrastructure(facts)?,
        "05_Database_Migration" => migration(facts),
        "06_Application_Deployment" => release(facts),
        "07_Monitoring_Setup" => monitoring(facts)?,
        "08_Validation_Results" => validation(facts)?,
        "09_Operational_Handover" => handover(facts)?,
        other => deliverables::answer(facts, other)?,
    })
}

/// Says why a phase has no result; nothing where it ended well.
fn without_result(facts: &Facts, number: u8) -> Option<String> {
    let state = PhaseNumber::new(number).and_then(|phase| facts.state.phases.get(&phase));
    let Some(state) = state else {
        return Some(match facts.state.finished {
            Some(_) => format!("the run did not come to it ({})", verdict_word(facts)),
            None => "the run has not come to it yet".to_owned(),
        });
    };
    match state.finished {
        Some((_, Outcome::Done)) => None,
        Some((_, outcome)) => {
            let took = passed::in_words(&facts.passed_in(state));
            let word = outcome_word(outcome);
            Some(match state.reason.trim().trim_end_matches('.') {
                "" => format!("{word} after {took}"),
                reason => format!("{word} after {took}: {reason}"),
            })
        }
        None => Some("it is not ended".to_owned()),
    }
}

/// Says how much time was spent on a phase that has ended.
fn took(facts: &Facts, number: u8) -> String {
    let state = PhaseNumber::new(number).and_then(|phase| facts.state.phases.get(&phase));
    let ended = state.filter(|state| state.finished.is_some());
    ended.map_or_else(
        || "an unknown time".to_owned(),
        |state| passed::in_words(&facts.passed_in(state)),
    )
}

/// Counts the items of a notebook that can apply.
fn items(facts: &Facts, number: u8) -> Result<String> {
    let (lines, tally) = items_of(facts, PhaseNumber::new(number))?;
    let apply = number_of(lines.len()).saturating_sub(u64::from(tally.not_applicable));
    Ok(format!(
        "{} of {} that apply are met, {} failed, {} waived, {} open",
        tally.met,
        counted(apply, "item"),
        tally.failed,
        tally.waived,
        tally.open
    ))
}

/// Counts findings, and names the first of the worst.
fn findings<'a>(all: impl Iterator<Item = &'a At<Finding>>) -> String {
    let all: Vec<&At<Finding>> = all.collect();
    let worst = all
        .iter()
        .max_by_key(|one| (one.what.severity, std::cmp::Reverse(one.seq)));
    let Some(worst) = worst else {
        return "no finding".to_owned();
    };
    format!(
        "{}, the worst {} ({} at {})",
        counted(number_of(all.len()), "finding"),
        format!("{:?}", worst.what.severity).to_lowercase(),
        worst.what.rule,
        worst.what.place
    )
}

fn findings_of(facts: &Facts, number: u8) -> String {
    let phase = PhaseNumber::new(number);
    findings(facts.findings.iter().filter(|one| one.phase == phase))
}

/// Returns what became of an item of the catalogue.
fn item<'a>(facts: &'a Facts, id: &str) -> Option<&'a ItemState> {
    let mut items = facts.state.items.iter();
    items
        .find(|(item, _)| item.to_string() == id)
        .map(|(_, state)| state)
}

fn number_of(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Returns the report of a section, if it was made.
fn section<'a>(facts: &'a Facts, number: u8, name: &str) -> Option<&'a Report> {
    let mut sections = facts.sections.iter();
    let found =
        sections.find(|one| one.phase == PhaseNumber::new(number) && one.what.name == name)?;
    Some(&found.what.report)
}

/// Counts the rows of a section's first table.
fn rows(facts: &Facts, number: u8, name: &str) -> u64 {
    let blocks = section(facts, number, name).map(|report| report.blocks.as_slice());
    let tables = blocks
        .unwrap_or_default()
        .iter()
        .filter_map(|block| match block {
            code_deploy_record::Block::Table { rows, .. } => Some(rows.len()),
            _ => None,
        });
    tables.take(1).map(number_of).sum()
}

/// Says of the last answers of a gate how many let the run go on.
fn gate(facts: &Facts, gate: Gate) -> String {
    let answers = facts.last_answers(gate);
    let passed = answers.iter().filter(|one| one.what.word() == "passed");
    let passed = passed.count();
    match (answers.len(), passed) {
        (0, _) => format!("the {} gate was not asked", gate.word()),
        (all, passed) if all == passed => format!("the {} gate passed", gate.word()),
        (all, passed) => {
            let mut others = answers.iter().filter(|one| one.what.word() != "passed");
            let (word, why) = others.next().map_or(("", ""), |one| {
                (one.what.word(), one.what.reason.trim_end_matches('.'))
            });
            let gate = gate.word();
            match passed {
                0 => format!("the {gate} gate: {word} ({why})"),
                _ => format!("the {gate} gate passed for {passed} of {all} ({word}: {why})"),
            }
        }
    }
}

fn plan(facts: &Facts) -> String {
    let Some(plan) = &facts.state.plan else {
        let why = without_result(facts, 1);
        let why = why.unwrap_or_else(|| "the record holds none".to_owned());
        return format!("No plan was made: {why}.");
    };
    let changes = || plan.steps.iter().filter(|step| step.changes);
    let undone = changes().filter(|step| step.undo.is_some()).count();
    let started = &facts.started;
    let from = started.from.as_ref();
    let from = from.map_or_else(String::new, |from| format!("from {from} "));
    format!(
        "The plan takes {} {from}to {} in {} on {} by {} in {}: {} of them change something, and {undone} of these \
         have an undo.",
        started.application,
        started.to,
        started.environment,
        started.target,
        started.strategy,
        counted(number_of(plan.steps.len()), "step"),
        changes().count()
    )
}

fn validation_before(facts: &Facts) -> Result<String> {
    if let Some(why) = without_result(facts, 2) {
        let phase = PhaseNumber::new(2).and_then(|phase| facts.state.phases.get(&phase));
        let is_over =
            facts.state.finished.is_some() || phase.is_some_and(|phase| phase.finished.is_some());
        let word = if is_over { "No go" } else { "No go yet" };
        return Ok(format!("{word}, by pre-deployment validation: {why}."));
    }
    let approval = match facts.approvals.last() {
        Some(approval) if approval.what.go => format!("{} said go", approval.what.by),
        Some(approval) => format!("{} said no-go", approval.what.by),
        None => approvals::asked_for(facts),
    };
    Ok(format!(
        "Go: {}; {}; {approval}.",
        items(facts, 2)?,
        findings_of(facts, 2)
    ))
}

fn build(facts: &Facts) -> Result<String> {
    if let Some(why) = without_result(facts, 3) {
        return Ok(format!("The release was not built to the end: {why}."));
    }
    let artifacts = counted(rows(facts, 3, "artifacts"), "artifact");
    let took = took(facts, 3);
    let came = match built(facts) {
        Some(0) => format!(
            "Nothing was built, because the deployment file names no build command; {artifacts} found and checked in \
             {took}"
        ),
        Some(number) => format!(
            "{} ended well in {took} with {artifacts} listed",
            counted(number, "build")
        ),
        None => format!("The phase ended well in {took} with {artifacts} listed"),
    };
    Ok(format!(
        "{came}: {}; {}.",
        items(facts, 3)?,
        findings_of(facts, 3)
    ))
}

/// Returns how many services were built; nothing where the record does not say.
fn built(facts: &Facts) -> Option<u64> {
    let mut steps = facts.state.steps.iter();
    steps.find_map(|(name, step)| {
        let built = belongs(name, &["build"]).then(|| step.result.get("built"))?;
        built?.as_array().map(|built| number_of(built.len()))
    })
}

fn infrastructure(facts: &Facts) -> Result<String> {
    if let Some(why) = without_result(facts, 4) {
        return Ok(format!(
            "The infrastructure was not set up to the end: {why}."
        ));
    }
    let steps = facts.state.steps.iter();
    let own: Vec<_> = steps
        .filter(|(name, _)| belongs(name, &["provision"]))
        .collect();
    let done = own
        .iter()
        .filter(|(_, step)| step.status == StepStatus::Done);
    Ok(format!(
        "The infrastructure was set up in {}: {} of {} done and verified from inside and outside; {}.",
        took(facts, 4),
        done.count(),
        counted(number_of(own.len()), "step"),
        items(facts, 4)?
    ))
}

fn migration(facts: &Facts) -> String {
    if facts.migrations.is_empty() {
        let why = without_result(facts, 5);
        let why = why.unwrap_or_else(|| "the phase ended well without a migration".to_owned());
        return format!("No database was migrated: {why}.");
    }
    let mut databases: BTreeMap<&str, (i64, u64, u64)> = BTreeMap::new();
    for one in facts.migrations.iter().map(|one| &one.what) {
        if one.direction == Direction::Apply {
            let (version, number, time) = databases.entry(&one.database).or_default();
            *version = (*version).max(one.version);
            *number += 1;
            *time += one.duration_us;
        }
    }
    let texts = databases.iter().map(|(name, (version, number, time))| {
        let before = version_before(facts, name);
        let from = before.map_or_else(String::new, |from| format!("from version {from} "));
        format!(
            "{name} went {from}to version {version} ({}, {})",
            counted(*number, "migration"),
            duration(*time)
        )
    });
    let texts: Vec<String> = texts.collect();
    let back = if is_taken_back(facts) {
        ", and the migrations were taken back"
    } else {
        ""
    };
    format!("{}{back}; {}.", texts.join(", "), data(facts))
}

/// Returns the version of a database when its backup was taken.
fn version_before(facts: &Facts, database: &str) -> Option<i64> {
    let mut steps = facts.state.steps.iter();
    let (_, backup) = steps.find(|(name, _)| name.as_str() == "migrate.backup")?;
    let of_database = backup.result.get("databases")?.get(database)?;
    of_database.get("version")?.as_i64()
}

fn is_taken_back(facts: &Facts) -> bool {
    let mut steps = facts.state.steps.iter();
    steps.any(|(name, step)| {
        name.as_str() == "migrate.execution" && step.status == StepStatus::Undone
    })
}

/// Says whether the data of before is as it was.
fn data(facts: &Facts) -> String {
    let Some(state) = item(facts, DATA) else {
        return format!("whether the data agrees was not settled (item {DATA})");
    };
    let word = match &state.verdict {
        Verdict::Met { .. } => "the data agrees with that of before",
        Verdict::Failed => "the data does not agree with that of before",
        _ => "whether the data agrees with that of before is not established",
    };
    let reason = state.reason.trim_end_matches('.');
    format!("{word}: {reason}")
}

fn release(facts: &Facts) -> String {
    let phase = PhaseNumber::new(6);
    let began = phase.is_some_and(|phase| facts.state.phases.contains_key(&phase));
    if !began {
        let why = without_result(facts, 6).unwrap_or_default();
        return format!("{} was not released: {why}.", facts.started.to);
    }
    let gates = || facts.gates.iter().filter(|gate| gate.phase == phase);
    let passed = gates().filter(|gate| gate.what.passed).count();
    let client = facts.state.clients.get("client").map_or_else(
        || "no outside client measured it".to_owned(),
        |client| {
            format!(
                "the outside client saw {} fail of {}",
                count(client.failed),
                counted(client.sent, "request")
            )
        },
    );
    format!(
        "{}; of {} of gates in this phase {passed} let the run go on; {client}.",
        overview::live(facts),
        counted(number_of(gates().count()), "answer")
    )
}

fn monitoring(facts: &Facts) -> Result<String> {
    if let Some(why) = without_result(facts, 7) {
        return Ok(format!(
            "Monitoring was not set up to the end: {why}; {}.",
            gate(facts, Gate::Monitoring)
        ));
    }
    Ok(format!(
        "{}; {}; {}.",
        capital(&gate(facts, Gate::Monitoring)),
        alerting(facts),
        items(facts, 7)?
    ))
}

/// Counts the alert rules, and says whether anybody evaluates them.
fn alerting(facts: &Facts) -> String {
    let rules = counted(number_of(crate::context::alerts(facts).len()), "alert rule");
    let word = item(facts, ALERTING).map_or("open", |state| state.verdict.word());
    format!("{rules}; that somebody evaluates them after the run is {word} (item {ALERTING})")
}

fn validation(facts: &Facts) -> Result<String> {
    if let Some(why) = without_result(facts, 8) {
        return Ok(format!("The release was not validated to the end: {why}."));
    }
    Ok(format!(
        "Of the validation, {}; {}; {}.",
        items(facts, 8)?,
        deliverables::objectives(facts),
        gate(facts, Gate::Baseline)
    ))
}

fn handover(facts: &Facts) -> Result<String> {
    if section(facts, 9, "runbooks").is_none()
        && let Some(why) = without_result(facts, 9)
    {
        return Ok(format!("Nothing was handed over: {why}."));
    }
    let documents = deliverables::runbooks_counted(facts);
    let criteria = overview::criteria_counted(facts)
        .unwrap_or_else(|| "drawn up when the run ends".to_owned());
    Ok(format!(
        "Handed over: {documents}; {}; criteria of a finished run: {criteria}.",
        items(facts, 9)?
    ))
}

/// Begins a sentence with a text.
fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests;
