//! Phase 4: the place is made ready, its walls and paths are tried.

mod balancer;
mod connectivity;
mod hardening;
mod network;
mod resources;

use std::sync::Arc;

use crate::Step;
use crate::plan::Inputs;

/// Returns the steps of `provision`, without the outside client, which comes before them.
#[must_use]
pub fn steps(_: &Inputs) -> Vec<Arc<dyn Step>> {
    let steps = [
        resources::step(),
        network::step(),
        balancer::step(),
        hardening::step(),
        network::tls_step(),
        connectivity::step(),
    ];
    steps.into_iter().flatten().collect()
}
