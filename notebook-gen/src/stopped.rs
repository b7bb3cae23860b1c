//! What was stopped on purpose: an instance that a step of the plan ended is not ill.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::{Direction, Outcome, Probe, Release, StepStatus};

use crate::facts::{At, Facts, HealthNote, StepEnd};

/// The step that stops the release before.
const OLD: &str = "finish.old-release";
/// Steps that start instances of the new release, one for each service; their undo stops them.
const GREEN: &str = "release.green.";
/// Steps that move traffic; in a rolling update they also end instances of the release before.
const WAVE: &str = "release.traffic.";

/// What charts say of the end of an instance that was stopped on purpose: see [`Stop::left`].
pub(crate) const END: &str = "An instance that a step stopped ends where a probe of it first failed meanwhile, and \
                              otherwise where that step ended.";

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

    /// Returns when it had stopped an instance, of which these are the notes, as far as the record tells: where a probe
    /// first failed because of it, and where none did before the step ended, that end. Nothing while it is under way.
    pub(crate) fn left(&self, notes: &[&At<HealthNote>]) -> Option<DateTime<Utc>> {
        let end = self.end?;
        let noticed = notes.iter().filter(|note| !note.what.healthy);
        let noticed = noticed.filter(|note| self.explains(note));
        let first = noticed.map(|note| note.time).min();
        Some(first.map_or(end, |first| first.min(end)))
    }

    /// Returns when it had stopped the last instance of a service's release; nothing while it is under way.
    pub(crate) fn left_last(
        &self,
        facts: &Facts,
        service: &str,
        release: &Release,
    ) -> Option<DateTime<Utc>> {
        let mut instances: BTreeMap<&str, Vec<&At<HealthNote>>> = BTreeMap::new();
        for note in &facts.health {
            if note.what.service == service && note.what.release == *release {
                let own = instances.entry(note.what.instance.as_str()).or_default();
                own.push(note);
            }
        }
        let left = instances.values().filter_map(|notes| self.left(notes));
        left.max().or(self.end)
    }
}

#[cfg(test)]
mod tests {
    use code_deploy_synthetic::{self as synthetic, Story};

    use super::*;

    #[test]
    fn an_instance_ends_where_a_probe_noticed_it_and_the_release_with_its_last_one() {
        let project = tempfile::tempdir().unwrap();
        let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
        let mut facts = Facts::read(&run).unwrap();
        let to = facts.started.to.clone();
        let stops = stops(&facts);
        let stop = stops.iter().find(|stop| stop.stopped_all("catalog", &to));
        let stop = stop.unwrap();
        let end = stop.end.unwrap();
        let own = |note: &&At<HealthNote>| note.what.release == to;
        let mut ill = facts.health.iter().find(own).unwrap().clone();
        facts.health.clear();
        assert_eq!(stop.left_last(&facts, "catalog", &to), Some(end));

        ill.what.service = "catalog".to_owned();
        ill.what.healthy = false;
        ill.time = stop.begin + (end - stop.begin) / 2;
        let noticed = ill.time;
        assert_eq!(stop.left(&[&ill]), Some(noticed));
        facts.health.push(ill.clone());
        assert_eq!(stop.left_last(&facts, "catalog", &to), Some(noticed));

        ill.what.instance = "another".to_owned();
        ill.time = end + TimeDelta::seconds(1);
        assert_eq!(stop.left(&[&ill]), Some(end));
        facts.health.push(ill);
        assert_eq!(stop.left_last(&facts, "catalog", &to), Some(end));
    }
}
