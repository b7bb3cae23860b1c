//! Whether a run kept what the engine promises. The checker reads the journal and the log of the
//! simulated world, and knows nothing of the engine.

mod intents;
mod lease;
mod rest;
mod resume;
mod runner;
mod steering;
mod traffic;
mod undo;

use std::collections::BTreeMap;

use code_deploy_record::{Direction, Event, EventBody, Outcome, Planned};

use crate::scene::Scene;
use crate::world::{Entry, Inner};

/// A promise, by its number in the list of invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Everything new, everything old, or a person is needed.
    AllOrNothing,
    /// No traffic to what has not passed its gates, and never to nothing.
    NeverUntested,
    /// No effect without its intent on disk.
    JournalFirst,
    /// What may have happened is undone.
    UndoWhatMayHaveHappened,
    /// Live and resumed state are one fold.
    ResumeIsTheSame,
    /// Who does not hold the lock changes nothing.
    OneRunner,
    /// What a person asks for is done, whatever happens to the process that was asked.
    SteeringIsHeard,
    /// Split traffic is under a lease.
    DeadMansHandle,
}

impl Invariant {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::AllOrNothing,
        Self::NeverUntested,
        Self::JournalFirst,
        Self::UndoWhatMayHaveHappened,
        Self::ResumeIsTheSame,
        Self::OneRunner,
        Self::SteeringIsHeard,
        Self::DeadMansHandle,
    ];
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

/// Builds a violation.
#[must_use]
pub fn broken(invariant: Invariant, what: impl Into<String>) -> Violation {
    Violation {
        invariant,
        what: what.into(),
    }
}

/// What the checker reads.
#[derive(Debug)]
pub struct Trace<'a> {
    /// What the seed decided.
    pub scene: &'a Scene,
    /// The journal of the run.
    pub events: &'a [Event],
    /// What was done to the world, in order.
    pub log: &'a [Entry],
    /// The world as it is in the end.
    pub world: &'a Inner,
    /// Instances that ran before the run, by service and release.
    pub before: BTreeMap<(String, String), usize>,
}

impl<'a> Trace<'a> {
    /// Returns the events that were on disk for good at an entry of the log.
    #[must_use]
    pub fn known(&self, entry: &Entry) -> &'a [Event] {
        let known = (entry.durable as usize).min(self.events.len());
        &self.events[..known]
    }

    /// Returns the plan, once it is made.
    #[must_use]
    pub fn plan(&self) -> Option<&'a Planned> {
        self.events.iter().find_map(|event| match &event.body {
            EventBody::Planned(planned) => Some(planned),
            _ => None,
        })
    }
}

/// Checks everything that has to hold at every moment of a run.
#[must_use]
pub fn always(trace: &Trace<'_>) -> Vec<Violation> {
    let mut found = chain(trace.events);
    found.extend(traffic::check(trace));
    found.extend(intents::check(trace));
    found.extend(resume::check(trace));
    found.extend(runner::check(trace));
    found.extend(lease::check(trace));
    found.extend(steering::check(trace));
    found
}

/// Checks what has to hold when a run has come to rest.
#[must_use]
pub fn at_rest(trace: &Trace<'_>) -> Vec<Violation> {
    let mut found = rest::check(trace);
    found.extend(undo::check(trace));
    found
}

pub use rest::outcome;

/// Where each step stood after some events: its last direction, and how that ended if it did.
#[must_use]
pub fn standing(events: &[Event]) -> BTreeMap<String, (Direction, Option<Outcome>)> {
    let mut steps = BTreeMap::new();
    for event in events {
        match &event.body {
            EventBody::StepIntended {
                step, direction, ..
            } => {
                steps.insert(step.to_string(), (*direction, None));
            }
            EventBody::StepFinished {
                step,
                direction,
                outcome,
                ..
            } => {
                steps.insert(step.to_string(), (*direction, Some(*outcome)));
            }
            _ => {}
        }
    }
    steps
}

/// The lines follow from each other.
fn chain(events: &[Event]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (place, event) in events.iter().enumerate() {
        if event.seq != place as u64 {
            let what = format!("line {place} of the journal has number {}", event.seq);
            found.push(broken(Invariant::ResumeIsTheSame, what));
        }
    }
    found
}
