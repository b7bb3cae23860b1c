//! What went wrong in a run: gates that did not pass, steps that failed, requests that failed, and
//! that it went back. It stands at the top of a page, beside the items that do not hold, because a
//! reader who finds it missing there takes the run for one without it.

use chrono::{DateTime, Utc};
use code_deploy_record::{ClientCounted, Direction, GateEvaluated, Outcome, PhaseNumber};
use serde::Serialize;

use crate::facts::{At, Facts, StepEnd};
use crate::format::{clock, count, counted};

/// Lines that a page lists at most.
const MOST: usize = 20;

/// One thing that went wrong.
#[derive(Debug, Serialize)]
pub(crate) struct Trouble {
    #[serde(skip)]
    at: (DateTime<Utc>, u64),
    /// When it was known.
    time: String,
    /// What.
    what: String,
    /// Why, as far as the record says.
    why: String,
    /// The event that tells it.
    event: u64,
}

impl Trouble {
    fn new(time: DateTime<Utc>, event: u64, what: String, why: impl Into<String>) -> Self {
        Self {
            at: (time, event),
            time: clock(time),
            what,
            why: why.into(),
            event,
        }
    }
}

/// Returns what went wrong in a phase, or in the whole run, in order of time, and how many lines
/// more there are.
pub(crate) fn troubles(facts: &Facts, phase: Option<PhaseNumber>) -> (Vec<Trouble>, usize) {
    let here = |of: Option<PhaseNumber>| phase.is_none() || of == phase;
    let gates = failed_gates(facts);
    let mut all: Vec<Trouble> = gates
        .iter()
        .filter(|gate| here(gate.phase))
        .map(|gate| of_gate(gate))
        .collect();
    let steps = failed_steps(facts, &gates);
    all.extend(
        steps
            .filter(|step| here(phase_of(facts, step)))
            .map(of_step),
    );
    let rollbacks = facts.rollbacks.iter().filter(|one| here(one.phase));
    all.extend(rollbacks.map(|one| {
        let what = "the run went back".to_owned();
        Trouble::new(one.time, one.seq, what, one.what.1.as_str())
    }));
    // Requests meet the new release in phase 6: its page tells of those that failed.
    if here(PhaseNumber::new(6)) {
        let clients = facts.state.clients.values();
        let failed = clients.filter(|client| client.failed > 0);
        all.extend(failed.map(|client| of_client(facts, client)));
    }
    all.sort_by_key(|trouble| trouble.at);
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    (all, more)
}

/// Gates that did not pass and were not asked again to better effect.
fn failed_gates(facts: &Facts) -> Vec<&At<GateEvaluated>> {
    let last = |gate: &&At<GateEvaluated>| {
        let answers = facts.last_answers(gate.what.gate);
        answers.iter().any(|answer| answer.seq == gate.seq)
    };
    let failed = facts.gates.iter().filter(|gate| !gate.what.passed);
    failed.filter(last).collect()
}

/// Steps that failed for good, forward or back; not those that failed with a gate, which says why.
fn failed_steps<'a>(
    facts: &'a Facts,
    gates: &'a [&At<GateEvaluated>],
) -> impl Iterator<Item = &'a At<StepEnd>> {
    let same = |one: &At<StepEnd>, other: &At<StepEnd>| {
        one.what.step == other.what.step && one.what.direction == other.what.direction
    };
    let last = move |step: &&At<StepEnd>| {
        let later = facts.steps.iter().rfind(|other| same(other, step));
        later.is_none_or(|later| later.seq == step.seq)
    };
    let told_by_gate = move |step: &At<StepEnd>| {
        let forward = step.what.direction == Direction::Apply;
        let own = |gate: &&At<GateEvaluated>| gate.step.as_ref() == Some(&step.what.step);
        forward && gates.iter().any(own)
    };
    let failed = facts.steps.iter();
    let failed = failed.filter(|step| step.what.outcome == Outcome::Failed);
    failed.filter(last).filter(move |step| !told_by_gate(step))
}

/// The phase that the plan gives a step, or the one under way when it ended.
fn phase_of(facts: &Facts, step: &At<StepEnd>) -> Option<PhaseNumber> {
    let planned = facts.state.planned(&step.what.step);
    planned.map(|planned| planned.phase).or(step.phase)
}

fn of_gate(gate: &At<GateEvaluated>) -> Trouble {
    let (name, subject) = (gate.what.gate.word(), &gate.what.subject);
    let what = format!("the {name} gate of {subject} did not pass");
    Trouble::new(gate.time, gate.seq, what, gate.what.reason.as_str())
}

fn of_step(step: &At<StepEnd>) -> Trouble {
    let back = match step.what.direction {
        Direction::Apply => "",
        Direction::Undo => "the undo of ",
    };
    let what = format!("{back}{} failed", step.what.step);
    let problem = step.what.problem.as_ref();
    let why = problem.map(|problem| format!("{} {}", problem.code, problem.what));
    Trouble::new(step.time, step.seq, what, why.unwrap_or_default())
}

fn of_client(facts: &Facts, client: &ClientCounted) -> Trouble {
    let mut counts = facts.counts.iter();
    let told = counts.rfind(|one| one.what.client == client.client);
    let (time, event) = told.map_or((client.last, 0), |one| (one.time, one.seq));
    let what = format!(
        "{} of {} of the outside client failed",
        count(client.failed),
        counted(client.sent, "request")
    );
    let causes = client.causes.iter().filter(|(_, number)| **number > 0);
    let causes = causes.map(|(cause, number)| format!("{} {cause}", count(*number)));
    let releases = client.by_release().filter(|(_, part)| part.failed > 0);
    let releases = releases.map(|(release, part)| format!("{} with {release}", count(part.failed)));
    let why: Vec<String> = causes.chain(releases).collect();
    Trouble::new(time, event, what, why.join(", "))
}
