//! Phase 1, second half: what is going to be done, what may go wrong, how to go back.

mod changes;
mod limits;
mod risks;
mod rollback;
mod scope;
mod steps;

use std::sync::Arc;

use crate::Step;
use crate::plan::Inputs;

/// Returns the steps of `plan`.
#[must_use]
pub fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let steps = [
        scope::step(),
        steps::step(),
        risks::step(inputs),
        rollback::step(),
    ];
    steps.into_iter().flatten().collect()
}
