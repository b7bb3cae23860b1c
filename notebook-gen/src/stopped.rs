//! What was stopped on purpose: an instance that a step of the plan ended is not ill.

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::{Direction, Outcome, Probe, Release, StepStatus};

use crate::facts::{At, Facts, HealthNote, StepEnd};

/// The step that stops the release before.
const OLD: &str = "finish.old-release";
/// Steps that start instances of the new release, one for each service; their undo stops them.
const GREEN: &str = "release.green.";
/// Steps that move traffic; in a rolling update they also end instances of the release before.
const WAVE: &str = "release.traffic.";

/// A time in which a step stopped instances.
pub(crate) struct Stop {
    /// The service, or nothing for all.
    service: Option<String>,
    release: Release,
    /// When the step began.
    pub(crate) begin: DateTime<Utc>,
    /// When it ended; nothing while it is under way.
    pub(crate) end: Option<DateTime<Utc>>,
    /// Whether it stopped every instance of the release.
    whole: bool,
}

/// Returns the stops of a run in order of time.
pub(crate) fn stops(facts: &Facts) -> Vec<Stop> {
    let ended = facts.steps.iter().filter_map(|step| ended(facts, step));
    let mut stops: Vec<Stop> = ended.chain(under_way(facts)).collect();
    stops.sort_by_key(|stop| stop.begin);
    stops
}

fn ended(facts: &Facts, step: &At<StepEnd>) -> Option<Stop> {
    if step.what.outcome != Outcome::Done {
        return None;
    }
    let (name, direction) = (step.what.step.as_str(), step.what.direction);
    let (service, release, whole) = match direction {
        Direction::Apply if name == OLD => (None, facts.started.from.clone()?, true),
        Direction::Apply if name.starts_with(WAVE) && facts.started.strategy == "rolling" => {
            (None, facts.started.from.clone()?, false)
        }
        Direction::Undo => {
            let service = name.strip_prefix(GREEN)?;
            (Some(service.to_owned()), facts.started.to.clone(), true)
        }
        Direction::Apply => return None,
    };
    let took = TimeDelta::microseconds(i64::try_from(step.what.duration_us).unwrap_or(0));
    Some(Stop {
        service,
        release,
        begin: step.time - took,
        end: Some(step.time),
        whole,
    })
}

/// Returns the stop of the release before while it is under way.
fn under_way(facts: &Facts) -> Option<Stop> {
    let steps = &facts.state.steps;
    let state = steps
        .iter()
        .find_map(|(name, state)| (name.as_str() == OLD).then_some(state))?;
    matches!(state.status, StepStatus::Intended | StepStatus::Applied).then_some(())?;
    Some(Stop {
        service: None,
        release: facts.started.from.clone()?,
        begin: state.started,
        end: None,
        whole: true,
    })
}

impl Stop {
    fn is_of(&self, service: &str, release: &Release) -> bool {
        self.release == *release && self.service.as_deref().is_none_or(|own| own == service)
    }

    /// Returns whether it stopped every instance of a service's release.
    pub(crate) fn stopped_all(&self, service: &str, release: &Release) -> bool {
        self.whole && self.is_of(service, release)
    }

    /// Returns whether a probe that fails then fails because of it. Where only some instances were
    /// ended, one that still answers, but takes no requests, is taken for one of them; one that is
    /// dead is not.
    pub(crate) fn explains(&self, note: &At<HealthNote>) -> bool {
        let what = &note.what;
        let since = note.time >= self.begin;
        if self.whole {
            return since && self.is_of(&what.service, &what.release);
        }
        let until = self.end.is_none_or(|end| note.time <= end);
        let drains = what.probe == Probe::Readiness;
        since && until && drains && self.is_of(&what.service, &what.release)
    }
}
