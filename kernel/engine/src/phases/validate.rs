//! Phase 8: whether the release does what it promises, through the address its users have.

mod acceptance;
mod functional;
mod integration;
mod objectives;
mod performance;
mod security;

use std::sync::Arc;

use crate::Step;
use crate::plan::Inputs;
use crate::section::step;

const VERB: (&str, u8) = ("validate", 8);

/// Returns the steps of the phase, in order.
#[must_use]
pub fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let load = inputs
        .spec
        .file
        .load
        .as_ref()
        .map(|load| load.duration.get())
        .unwrap_or_default();
    let steps = [
        step(&functional::OUTLINE, functional::Functional),
        step(&performance::outline(load), performance::Performance),
        step(&security::OUTLINE, security::Security),
        step(&integration::OUTLINE, integration::Integration),
        step(&acceptance::OUTLINE, acceptance::Acceptance),
    ];
    steps.into_iter().flatten().collect()
}
