//! After a run went back, everything is undone that may have happened.

use code_deploy_record::{Direction, Outcome, RunOutcome};

use super::{Invariant, Trace, Violation, broken, outcome, standing};
use crate::scene::NEW;

pub(super) fn check(trace: &Trace<'_>) -> Vec<Violation> {
    let went_back = matches!(
        outcome(trace.events),
        Some((RunOutcome::RolledBack | RunOutcome::Refused, _))
    );
    if !went_back {
        return Vec::new();
    }
    let mut found = Vec::new();
    let steps = standing(trace.events);
    let plan = trace.plan().into_iter().flat_map(|plan| &plan.steps);
    for step in plan.filter(|step| step.changes) {
        match steps.get(step.step.as_str()) {
            None | Some((Direction::Undo, Some(Outcome::Done))) => {}
            Some(stands) => {
                let what = format!("{} is not undone after a rollback: {stands:?}", step.step);
                found.push(broken(Invariant::UndoWhatMayHaveHappened, what));
            }
        }
    }
    for effect in &trace.world.effects {
        let what = format!("{effect} is there after a rollback");
        found.push(broken(Invariant::UndoWhatMayHaveHappened, what));
    }
    for (id, _) in trace
        .world
        .instances()
        .iter()
        .filter(|(_, one)| one.release == NEW)
    {
        let what = format!("{id} runs after a rollback");
        found.push(broken(Invariant::UndoWhatMayHaveHappened, what));
    }
    found
}
