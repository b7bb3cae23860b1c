//! Phase 1, first half: what the application consists of, declared and running.

mod components;
mod dependencies;
mod infrastructure;
mod listings;
mod network;
mod walls;

use std::sync::Arc;

use crate::Step;
use crate::plan::Inputs;

/// Returns the steps of `inventory`.
#[must_use]
pub fn steps(_: &Inputs) -> Vec<Arc<dyn Step>> {
    let steps = [
        components::step(),
        dependencies::step(),
        infrastructure::step(),
        network::step(),
    ];
    steps.into_iter().flatten().collect()
}
