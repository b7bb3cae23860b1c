//! A rollback that was asked for is carried out, whatever happens to the process that was asked.

use code_deploy_record::{Direction, EventBody, RunOutcome, Steering};

use super::{Invariant, Trace, Violation, broken, outcome};

pub(super) fn check(trace: &Trace<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut asked = false;
    for event in trace.events {
        match &event.body {
            EventBody::SteeringAsked {
                verb: Steering::Rollback,
                ..
            } => asked = true,
            EventBody::StepIntended {
                step,
                direction: Direction::Apply,
                ..
            } if asked => {
                let what = format!("{step} was begun after a rollback was asked for");
                found.push(broken(Invariant::SteeringIsHeard, what));
            }
            _ => {}
        }
    }
    let succeeded = matches!(outcome(trace.events), Some((RunOutcome::Succeeded, _)));
    if asked && succeeded {
        let what = "the run succeeded though a rollback was asked for";
        found.push(broken(Invariant::SteeringIsHeard, what));
    }
    found
}
