//! Phase 9: what the people need who run the release from now on.

mod books;
mod notebooks;
mod people;
mod runbooks;

use std::sync::Arc;

use crate::Step;
use crate::plan::Inputs;
use crate::section::step;

pub use notebooks::MakeHandover;

const VERB: (&str, u8) = ("handover", 9);

/// Returns the steps of the phase, in order.
#[must_use]
pub fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    // What is handed over is read from the deployment file and the record when a step runs.
    let _ = inputs;
    let steps = [
        step(&runbooks::OUTLINE, runbooks::Runbooks),
        step(&people::CONTACTS, people::People(people::Part::Contacts)),
        step(
            &people::ESCALATION,
            people::People(people::Part::Escalation),
        ),
        step(
            &people::MAINTENANCE,
            people::People(people::Part::Maintenance),
        ),
        step(
            &people::KNOWN_ISSUES,
            people::People(people::Part::KnownIssues),
        ),
        step(&notebooks::OUTLINE, notebooks::Notebooks),
    ];
    steps.into_iter().flatten().collect()
}
