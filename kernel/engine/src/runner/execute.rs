//! One step, forward or back, journal first.

use std::sync::Arc;
use std::time::Duration;

use code_deploy_record::{
    Check, Direction, EventBody, Outcome, Problem, Severity, StepLimits, StepName, Vantage,
};
use serde_json::Value;

use super::course::FIRST_CHANGE;
use crate::duration::whole_milliseconds;
use crate::step::{StepError, StepErrorKind};
use crate::surroundings::Sabotage;
use crate::{Context, Step};

/// The phase in which traffic moves.
const RELEASE: u8 = 6;

/// How often a step is tried before its error stands.
const ATTEMPTS: u32 = 4;

/// The pause before the second attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest that one check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// Carries a step out and verifies it twice.
pub(crate) async fn forward(context: &Context, step: &Arc<dyn Step>) -> Result<(), StepError> {
    run(context, step, Direction::Apply).await
}

/// Takes a step back and verifies twice that it is gone.
pub(crate) async fn back(context: &Context, step: &Arc<dyn Step>) -> Result<(), StepError> {
    run(context, step, Direction::Undo).await
}

async fn run(
    context: &Context,
    step: &Arc<dyn Step>,
    direction: Direction,
) -> Result<(), StepError> {
    let name = step.planned().step.clone();
    let began = context.clock.now();
    let first = next_attempt(context, &name, direction);
    let mut pause = FIRST_PAUSE;
    for attempt in first.. {
        let tried = attempt_once(context, step, direction, attempt).await;
        let Err(error) = tried else {
            return finished(context, &name, direction, Outcome::Done, began, None).await;
        };
        let last = attempt + 1 >= first + ATTEMPTS;
        if error.kind == StepErrorKind::Transient && !last {
            let pause_ms = whole_milliseconds(pause);
            let body = EventBody::StepRetried {
                step: name.clone(),
                direction,
                attempt,
                pause_ms,
                problem: error.problem,
            };
            context.journal.append("engine", body).await?;
            wait(context, direction, pause).await;
            pause *= 2;
            continue;
        }
        let outcome = match error.kind {
            StepErrorKind::Steered => Outcome::Stopped,
            _ => Outcome::Failed,
        };
        let problem = Some(error.problem.clone());
        finished(context, &name, direction, outcome, began, problem).await?;
        return Err(error);
    }
    Ok(())
}

/// A forward step that waits for its next attempt is at a safe point; a rollback is not stopped.
async fn wait(context: &Context, direction: Direction, pause: Duration) {
    match direction {
        Direction::Apply => {
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                () = context.interruption.stopped() => {}
            }
        }
        Direction::Undo => tokio::time::sleep(pause).await,
    }
}

fn next_attempt(context: &Context, name: &StepName, direction: Direction) -> u32 {
    let state = context.state();
    let before = state
        .steps
        .get(name)
        .filter(|step| step.direction == direction);
    before.map_or(1, |step| step.attempt + 1)
}

async fn attempt_once(
    context: &Context,
    step: &Arc<dyn Step>,
    direction: Direction,
    attempt: u32,
) -> Result<(), StepError> {
    let name = step.planned().step.clone();
    if direction == Direction::Apply {
        context.safe_point()?;
    }
    let intent = step.intent(context);
    let body = EventBody::StepIntended {
        step: name.clone(),
        direction,
        attempt,
        intent,
        limits: Some(StepLimits {
            timeout_ms: whole_milliseconds(step.limit()),
            attempts: ATTEMPTS,
            pause_ms: whole_milliseconds(FIRST_PAUSE),
        }),
    };
    let result = if context.surroundings.sabotaged(Sabotage::ActsFirst) {
        let result = act(context, step, direction).await;
        context.journal.append("engine", body).await?;
        result?
    } else {
        context.journal.append("engine", body).await?;
        act(context, step, direction).await?
    };
    let body = EventBody::StepApplied {
        step: name.clone(),
        direction,
        result,
    };
    context.journal.append("engine", body).await?;
    for vantage in [Vantage::Inside, Vantage::Outside] {
        let checked = check(context, step, direction, vantage).await?;
        let (passed, failure) = (checked.passed, not_passed(&name, direction, &checked));
        let body = EventBody::StepVerified {
            step: name.clone(),
            direction,
            check: checked,
        };
        context.journal.append("engine", body).await?;
        if !passed && holds_nobody_up(context, step, direction) {
            let text = format!("the run goes back all the same: {}", failure.problem.what);
            let severity = Severity::Medium;
            let body = EventBody::Noted { severity, text };
            context.journal.append("engine", body).await?;
        } else if !passed {
            return Err(failure);
        }
    }
    Ok(())
}

/// Returns whether a check that does not pass stops nothing: in a run that goes back, what is ill
/// before it changes anything, or is not as it should be after all traffic has moved, is no reason to
/// stay with what it leaves. Steps that start, check and serve the release before have to pass.
fn holds_nobody_up(context: &Context, step: &Arc<dyn Step>, direction: Direction) -> bool {
    let planned = step.planned();
    let phase = planned.phase.get();
    let looks = phase < FIRST_CHANGE || (phase > RELEASE && !planned.changes);
    direction == Direction::Apply && looks && context.goes_back()
}

async fn act(
    context: &Context,
    step: &Arc<dyn Step>,
    direction: Direction,
) -> Result<Value, StepError> {
    // A step may change something that is no part of the target.
    context.may_act.check().await?;
    let limit = step.limit();
    let acted = match direction {
        Direction::Apply => tokio::time::timeout(limit, step.apply(context)).await,
        Direction::Undo => tokio::time::timeout(limit, step.undo(context)).await,
    };
    acted.unwrap_or_else(|_| Err(timed_out(&step.planned().step, "did not end", limit)))
}

async fn check(
    context: &Context,
    step: &Arc<dyn Step>,
    direction: Direction,
    vantage: Vantage,
) -> Result<Check, StepError> {
    let asked = async {
        match (direction, vantage) {
            (Direction::Apply, Vantage::Inside) => step.verify(context).await,
            (Direction::Apply, Vantage::Outside) => step.cross_check(context).await,
            (Direction::Undo, Vantage::Inside) => step.verify_undone(context).await,
            (Direction::Undo, Vantage::Outside) => step.cross_check_undone(context).await,
        }
    };
    let checked = tokio::time::timeout(CHECK_LIMIT, asked).await;
    checked.unwrap_or_else(|_| {
        Err(timed_out(
            &step.planned().step,
            "was not verified",
            CHECK_LIMIT,
        ))
    })
}

fn timed_out(name: &StepName, what: &str, limit: Duration) -> StepError {
    let what = format!(
        "step {name} {what} within its limit of {} s",
        limit.as_secs()
    );
    StepError::permanent(
        "CD0430",
        what,
        "Look at what the step waited for in the run's log.",
    )
}

fn not_passed(name: &StepName, direction: Direction, check: &Check) -> StepError {
    let done = match direction {
        Direction::Apply => "was done but",
        Direction::Undo => "was undone but",
    };
    let Check { method, detail, .. } = check;
    let what = format!("step {name} {done} its check by {method} did not pass: {detail}");
    let next = "Mend what the check saw, and run again; `code-deploy rollback` goes back to the release before.";
    StepError::permanent("CD0431", what, next)
}

async fn finished(
    context: &Context,
    step: &StepName,
    direction: Direction,
    outcome: Outcome,
    began: chrono::DateTime<chrono::Utc>,
    problem: Option<Problem>,
) -> Result<(), StepError> {
    if !context.state().steps.contains_key(step) {
        return Ok(());
    }
    let took = (context.clock.now() - began)
        .num_microseconds()
        .unwrap_or(0);
    let duration_us = u64::try_from(took).unwrap_or(0);
    let step = step.clone();
    let body = EventBody::StepFinished {
        step,
        direction,
        outcome,
        duration_us,
        problem,
    };
    context.journal.append("engine", body).await?;
    Ok(())
}
