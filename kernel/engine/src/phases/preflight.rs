//! Phase 2: what runs is healthy, resources suffice, the source may be deployed, a person says go.

mod dependencies;
mod go_no_go;
mod health;
mod resources;
mod security;

use std::sync::Arc;

use crate::Step;
use crate::plan::Inputs;

/// Returns the steps of `preflight`.
#[must_use]
pub fn steps(_: &Inputs) -> Vec<Arc<dyn Step>> {
    let steps = [
        health::step(),
        resources::step(),
        dependencies::step(),
        security::step(),
        go_no_go::step(),
    ];
    steps.into_iter().flatten().collect()
}
