//! What held when: shares of traffic and instances of each service over time.

use chrono::{DateTime, Utc};
use code_deploy_record::{Direction, Outcome, Release};

use crate::chart::markers;
use crate::chart::topology::{self, Instance};
use crate::facts::Facts;
use crate::format::{between, ratio};
use crate::series::Bins;
use crate::stopped::{self, Stop};

/// The step that starts instances of the new release of a service.
const GREEN: &str = "release.green.";

/// Shares of traffic that held for a time, the release that is deployed first.
pub(super) struct Span<'a> {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) shares: Vec<(&'a str, u16)>,
}

/// A time in which instances of a release ran.
pub(super) struct Life<'a> {
    pub(super) release: &'a str,
    pub(super) from: f64,
    pub(super) to: f64,
    /// Whether they were stopped at its end.
    pub(super) stopped: bool,
}

/// A service with what held of it.
pub(super) struct Row<'a> {
    pub(super) service: &'a str,
    pub(super) spans: Vec<Span<'a>>,
    pub(super) lives: Vec<Life<'a>>,
}

/// Returns the seconds from the beginning of the axis of time.
pub(super) fn since(facts: &Facts, time: DateTime<Utc>) -> f64 {
    ratio(between(facts.axis_start(), time), 1_000_000)
}

/// Returns the services of which traffic was moved or instances were started, those of the inventory first.
pub(super) fn rows<'a>(facts: &'a Facts, bins: &Bins) -> Vec<Row<'a>> {
    let stops = stopped::stops(facts);
    let instances = topology::instances(facts);
    let components = facts.state.components.iter();
    let services = components.filter(|one| topology::is_service(one));
    let mut names: Vec<&str> = services.map(|one| one.name.as_str()).collect();
    for shift in &facts.shifts {
        let name = shift.what.service.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut rows = Vec::new();
    for service in names {
        let moved = facts.shifts.iter().any(|one| one.what.service == service);
        let new = lives_of_new(facts, &stops, service);
        if moved || !new.is_empty() {
            let before = life_before(facts, &stops, &instances, service);
            rows.push(Row {
                service,
                spans: spans(facts, bins, service),
                lives: before.into_iter().chain(new).collect(),
            });
        }
    }
    rows
}

fn spans<'a>(facts: &'a Facts, bins: &Bins, service: &str) -> Vec<Span<'a>> {
    let end = since(facts, facts.until());
    let mut spans: Vec<Span<'a>> = Vec::new();
    if let Some(from) = &facts.started.from {
        spans.push(Span {
            from: 0.0,
            to: end,
            shares: vec![(from.as_str(), 100)],
        });
    }
    for shift in facts
        .shifts
        .iter()
        .filter(|one| one.what.service == service)
    {
        let served = shift.what.served.iter().filter(|(_, share)| **share > 0);
        let mut shares: Vec<(&str, u16)> = served
            .map(|(release, share)| (release.as_str(), *share))
            .collect();
        shares.sort_by_key(|(release, _)| *release != facts.started.to.as_str());
        let mut at = since(facts, markers::changed_at(facts, bins, shift));
        if let Some(last) = spans.last_mut() {
            if last.shares == shares {
                continue;
            }
            at = at.max(last.from);
            last.to = at;
        }
        spans.push(Span {
            from: at,
            to: end,
            shares,
        });
    }
    spans
}

/// Returns when instances of the release that is deployed ran: from the beginning of the step that started them until
/// the one that took it back had stopped the last of them.
fn lives_of_new<'a>(facts: &'a Facts, stops: &[Stop], service: &str) -> Vec<Life<'a>> {
    let end = since(facts, facts.until());
    let to = &facts.started.to;
    let mut lives: Vec<Life<'a>> = Vec::new();
    for step in &facts.steps {
        let own = step.what.step.as_str().strip_prefix(GREEN) == Some(service);
        if !own || step.what.outcome != Outcome::Done {
            continue;
        }
        let ended = since(facts, step.time);
        if step.what.direction == Direction::Apply {
            lives.push(Life {
                release: facts.started.to.as_str(),
                from: (ended - ratio(step.what.duration_us, 1_000_000)).max(0.0),
                to: end,
                stopped: false,
            });
        } else if let Some(last) = lives.last_mut() {
            let mut own = stops.iter().filter(|stop| stop.stopped_all(service, to));
            let stop = own.find(|stop| stop.end == Some(step.time));
            let left = stop.and_then(|stop| stop.left_last(facts, service, to));
            last.to = left.map_or(ended, |left| since(facts, left)).max(last.from);
            last.stopped = true;
        }
    }
    lives
}

/// Returns when instances of the release before ran: from the beginning of the run, which found them.
fn life_before<'a>(
    facts: &'a Facts,
    stops: &[Stop],
    instances: &[Instance],
    service: &str,
) -> Option<Life<'a>> {
    let from = facts.started.from.as_ref()?;
    (number_of(instances, service, from) > 0).then_some(())?;
    let own = stops.iter().filter(|stop| stop.stopped_all(service, from));
    let left = own.filter_map(|stop| stop.left_last(facts, service, from));
    let end = left.max();
    Some(Life {
        release: from.as_str(),
        from: 0.0,
        to: since(facts, end.unwrap_or(facts.until())),
        stopped: end.is_some(),
    })
}

fn number_of(instances: &[Instance], service: &str, release: &Release) -> usize {
    let own = instances
        .iter()
        .filter(|one| one.service == service && one.release == *release);
    own.count()
}
