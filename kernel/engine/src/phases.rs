//! The steps of the phases, section by section.

pub mod build;
mod facts;
pub mod inventory;
pub(crate) mod look;
pub mod migrate;
pub mod planning;
pub(crate) mod policy;
pub mod preflight;
pub mod provision;
pub(crate) mod work;

use std::sync::Arc;

use crate::Step;
use crate::plan::Inputs;

pub use facts::item_facts;

/// Returns the steps of all phases. The plan orders them by phase; inside a phase they keep this
/// order, so that the outside client, which is among those of the release, comes before all
/// others of its phase.
#[must_use]
pub fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = crate::release::steps(inputs);
    steps.extend(inventory::steps(inputs));
    steps.extend(planning::steps(inputs));
    steps.extend(preflight::steps(inputs));
    steps.extend(build::steps(inputs));
    steps.extend(provision::steps(inputs));
    steps.extend(migrate::steps(inputs));
    steps
}
