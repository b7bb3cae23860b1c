//! Phase 6: the new release is started beside the old one, passes its gates, and gets the
//! traffic as the strategy says; and the steps that end a run.
//!
//! # Order
//! Green is started with no share of traffic; health, smoke and monitoring gates; then traffic
//! moves, under analysis; after the first move the rollback is rehearsed. The old release stays
//! at full size until all phases have passed: stopping it is a step of its own
//! (`finish.old-release`) and the last change of a run, so that until then going back is a matter
//! of moving traffic. A rolling update keeps one instance of it per service until then.

pub mod client;
mod endpoints;
mod gates;
mod green;
mod integrity;
mod items;
mod old;
mod outside;
mod planned;
mod process;
mod rehearsal;
mod relief;
mod report;
mod rolling;
mod shift;
mod split;
pub mod traffic;

pub use rolling::instances_at;
pub use shift::LEASE;

use std::sync::Arc;

use code_deploy_record::StepName;

use crate::Step;
use crate::plan::Inputs;
use crate::spec::{Strategy, StrategyKind, TrafficStep};

/// Returns the steps of phase 6, and those that end the run.
#[must_use]
pub fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = Vec::new();
    steps.extend(client::start_step(inputs));
    steps.extend(green::steps(inputs));
    let gates = gates::steps(inputs);
    let ready = gates.last().map(|step| step.planned().step.clone());
    steps.extend(gates);
    steps.extend(moving(inputs, ready.as_ref()));
    steps.extend(client::late_start_step(inputs));
    steps.extend(old::step(inputs));
    steps.extend(client::stop_step(inputs));
    steps
}

/// Returns the steps that move traffic.
fn moving(inputs: &Inputs, ready: Option<&StepName>) -> Vec<Arc<dyn Step>> {
    let strategy = &inputs.spec.strategy;
    let quick = inputs.initial || inputs.reverts.is_some();
    if quick {
        return vec![traffic::promotion(inputs, ready)];
    }
    let mut steps: Vec<Arc<dyn Step>> = Vec::new();
    let mut last = ready.cloned();
    for move_step in moves(strategy) {
        let step = match strategy.kind {
            StrategyKind::Rolling => rolling::wave(inputs, &move_step, last.as_ref()),
            _ => traffic::step(inputs, &move_step, last.as_ref()),
        };
        last = Some(step.planned().step.clone());
        let first = steps.is_empty();
        steps.push(step);
        if first && strategy.rehearse_rollback {
            let rehearsal = rehearsal::step(inputs, move_step.percent, last.as_ref());
            last = Some(rehearsal.planned().step.clone());
            steps.push(rehearsal);
        }
    }
    steps.push(traffic::promotion(inputs, last.as_ref()));
    steps
}

/// Returns the shares before promotion, growing: the waves of a rolling update. A strategy that moves
/// all at once does so in one step, which the promotion then confirms.
#[must_use]
pub fn moves(strategy: &Strategy) -> Vec<TrafficStep> {
    let mut shares: Vec<TrafficStep> = Vec::new();
    if strategy.kind != StrategyKind::BlueGreen {
        for step in &strategy.steps {
            let grows = shares.last().is_none_or(|last| last.percent < step.percent);
            if grows && step.percent < 100 {
                shares.push(*step);
            }
        }
    }
    // A rolling update reaches its full size in a last wave of its own.
    if shares.is_empty() || strategy.kind == StrategyKind::Rolling {
        let last = strategy.steps.last().filter(|step| step.percent == 100);
        let soak = last.map_or(crate::duration::Span::from_secs(0), |step| step.soak);
        shares.push(TrafficStep { percent: 100, soak });
    }
    shares
}
