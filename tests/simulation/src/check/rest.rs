//! Everything new, everything old, or a person is needed.

use code_deploy_record::{Event, EventBody, RunOutcome};

use super::{Invariant, Trace, Violation, broken};
use crate::scene::{NEW, OLD};
use crate::world::Shares;

/// Returns how a run ended, if it has, and in which words.
#[must_use]
pub fn outcome(events: &[Event]) -> Option<(RunOutcome, &str)> {
    let mut ended = None;
    for event in events {
        match &event.body {
            EventBody::RunFinished { outcome, summary } => {
                ended = Some((*outcome, summary.as_str()));
            }
            // A run that needs a person goes on when somebody takes it up.
            EventBody::LockTaken { .. } => ended = None,
            _ => {}
        }
    }
    let finished = events.iter().rev().find_map(|event| match &event.body {
        EventBody::RunFinished { outcome, summary } => Some((*outcome, summary.as_str())),
        _ => None,
    });
    ended.or(finished.filter(|(outcome, _)| *outcome != RunOutcome::NeedsPerson))
}

pub(super) fn check(trace: &Trace<'_>) -> Vec<Violation> {
    match outcome(trace.events) {
        Some((RunOutcome::Succeeded, _)) => all_on(trace, NEW, OLD),
        Some((RunOutcome::RolledBack | RunOutcome::Refused, _)) => match trace.scene.from() {
            Some(from) => all_on(trace, from, NEW),
            None => nothing(trace),
        },
        Some((RunOutcome::NeedsPerson, summary)) => needs_person(trace, summary),
        // A person answers for what runs.
        Some((RunOutcome::Abandoned, _)) => Vec::new(),
        None => vec![broken(
            Invariant::AllOrNothing,
            "the run has come to rest without an outcome",
        )],
    }
}

fn all_on(trace: &Trace<'_>, wanted: &str, gone: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |what: String| found.push(broken(Invariant::AllOrNothing, what));
    for (service, replicas) in &trace.scene.services {
        let served = trace.world.traffic.get(service);
        if served != Some(&Shares::from([(wanted.to_owned(), 100)])) {
            say(format!(
                "{service} serves {served:?} where all is to be on {wanted}"
            ));
        }
        let running = trace.world.running(service, wanted);
        if running < *replicas as usize {
            say(format!(
                "{service} runs {running} of {replicas} of {wanted}"
            ));
        }
        let left = trace.world.running(service, gone);
        if left > 0 {
            say(format!("{service} still runs {left} of {gone}"));
        }
    }
    let expected = if wanted == NEW {
        2 * trace.scene.others
    } else {
        0
    };
    if trace.world.effects.len() as u64 != expected {
        say(format!(
            "{:?} is there where {expected} parts are due",
            trace.world.effects
        ));
    }
    found
}

fn nothing(trace: &Trace<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for id in trace.world.instances().keys() {
        let what = format!("{id} runs where nothing ran before");
        found.push(broken(Invariant::AllOrNothing, what));
    }
    for (service, shares) in &trace.world.traffic {
        if shares.values().any(|share| *share > 0) {
            let what = format!("{service} serves {shares:?} where nobody was served before");
            found.push(broken(Invariant::AllOrNothing, what));
        }
    }
    found
}

/// Who has to decide is told which step stands in the way and what can be done.
fn needs_person(trace: &Trace<'_>, summary: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let known = trace.plan().into_iter().flat_map(|plan| &plan.steps);
    let names_step = known
        .map(|step| step.step.as_str())
        .any(|name| summary.contains(name));
    if !names_step && !summary.contains("the last look") {
        let what = format!("a person is needed, and is not told for which step: {summary}");
        found.push(broken(Invariant::AllOrNothing, what));
    }
    found
}
