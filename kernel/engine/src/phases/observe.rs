//! Phase 7: what observes the system, as configured and as confirmed.

mod alerts;
mod dashboards;
mod logs;
mod metrics;
mod reading;
mod traces;

use std::sync::Arc;

#[cfg(test)]
pub(crate) use alerts::alerts;
pub(crate) use alerts::{Alert, Threshold, alerts_with_rules};
pub(crate) use traces::{Trace, follow, follow_journeys};

use crate::Step;
use crate::plan::Inputs;
use crate::section::step;

const VERB: (&str, u8) = ("observe", 7);

/// Returns the steps of the phase, in order.
#[must_use]
pub fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    // What is observed is read from the deployment file when a step runs.
    let _ = inputs;
    let steps = [
        step(&metrics::OUTLINE, metrics::Metrics),
        step(&dashboards::OUTLINE, dashboards::Dashboards),
        step(&alerts::OUTLINE, alerts::Alerts),
        step(&logs::OUTLINE, logs::Logs),
        step(&traces::OUTLINE, traces::Traces),
    ];
    steps.into_iter().flatten().collect()
}
