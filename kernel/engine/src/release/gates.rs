//! The gates between green and traffic, as steps. They change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Check, EvidenceRef, Gate, PlannedStep, Vantage};
use serde_json::{Value, json};

use super::outside::{self, Expected};
use super::planned::{Draft, step_name};
use super::{endpoints, green, integrity, items, relief, report, shift};
use crate::gate::{health, monitoring, smoke};
use crate::plan::Inputs;
use crate::spec::StrategyKind;
use crate::step::StepError;
use crate::{Context, Step, settle};

/// What walking the critical paths is expected to take.
const SMOKE: Duration = Duration::from_secs(5);

enum Kind {
    Health { service: String, replicas: u32 },
    Smoke,
    Monitoring,
}

/// A gate between green and traffic.
///
/// # Flow
/// Asks the gate, which writes its answer into the record; verified by that answer and by asking
/// the release on purpose. There is nothing to undo.
///
/// # Guarantees
/// Changes nothing, but where services need each other to get ready and nobody healthy serves one of
/// them: in a first deployment, and in a run that goes back from a release that is ill. There a
/// service that is healthy is served to those that need it, which the undo of its green step takes
/// back.
///
/// # Assumptions
/// An answer is as good as its age: a gate that was passed is asked again when its step is carried
/// out again.
///
/// # Caveats
/// A gate that could look at nothing has not passed. Where instances run another image than the recorded one, and neither
/// the policy nor a waiver accepts that 2.2.7 does not hold, the smoke gate does not pass, and no path is walked.
///
/// # Errors
/// `CD0450` health, `CD0451` smoke, `CD0452` monitoring: the gate did not pass; what the target
/// says.
struct GateStep {
    planned: PlannedStep,
    kind: Kind,
}

/// Returns the gates in order; each waits for the ones before.
pub(super) fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps: Vec<Arc<dyn Step>> = Vec::new();
    let mut health_names = Vec::new();
    for service in &inputs.spec.services {
        let step = health_step(inputs, service);
        health_names.push(step.planned.step.clone());
        steps.push(Arc::new(step));
    }
    let smoke = Draft::new(
        "release.smoke",
        format!(
            "walk the critical paths of {} and ask its operations",
            inputs.to
        ),
    )
    .after(&health_names)
    .items(&smoke_items(inputs))
    .verified(
        "the gate's answer in the record",
        "each service asked for the release on purpose",
    )
    .expected(SMOKE)
    .build();
    let smoke_name = smoke.step.clone();
    steps.push(Arc::new(GateStep {
        planned: smoke,
        kind: Kind::Smoke,
    }));
    let title = format!("see every service of {} before users reach it", inputs.to);
    let monitoring = Draft::new("release.monitoring", title)
        .after([&smoke_name])
        .items(&["5.1.5", "5.1.6"])
        .verified(
            "the gate's answer in the record",
            "each service asked for the release on purpose",
        )
        .expected(inputs.spec.strategy.health.interval.get())
        .build();
    steps.push(Arc::new(GateStep {
        planned: monitoring,
        kind: Kind::Monitoring,
    }));
    steps
}

fn smoke_items(inputs: &Inputs) -> Vec<&'static str> {
    let own = ["5.1.1", "5.1.2", endpoints::ITEM, "5.2.4", "6.1.1", "6.1.2"];
    let mut items = own.to_vec();
    if integrity::is_foreseen(&inputs.spec) {
        items.push(integrity::ITEM);
    }
    items
}

fn health_step(inputs: &Inputs, service: &crate::spec::Service) -> GateStep {
    let policy = &inputs.spec.strategy.health;
    let step = format!("release.health.{}", service.name);
    let green = green::name(&service.name);
    let rolling = inputs.spec.strategy.kind == StrategyKind::Rolling;
    let slow = rolling && !inputs.initial && inputs.reverts.is_none();
    let replicas = if slow { 1 } else { service.replicas };
    let relieves = match &inputs.from {
        Some(from) if inputs.reverts.is_some() => {
            format!(", and serve it at once where {from} is not")
        }
        _ => String::new(),
    };
    let (name, to) = (&service.name, &inputs.to);
    let title = format!("wait until {name} {to} is healthy{relieves}");
    // Nobody uses a first deployment yet, and its services need each other to get ready: each is
    // served to the others as soon as it is healthy. A run that goes back does not wait in that order:
    // what it leaves may well be healthy enough to be needed.
    let needs = service.needs.iter().filter(|_| inputs.initial);
    let needs = needs.filter(|need| inputs.spec.service(need).is_some());
    let needs: Vec<_> = needs
        .map(|need| step_name(&format!("release.health.{need}")))
        .collect();
    let planned = Draft::new(step_name(&step).as_str(), title)
        .service(&service.name)
        .after([&green])
        .after(&needs)
        .items(&["5.4.2", "5.4.3", "5.4.4", "5.4.6", "6.1.3"])
        .verified(
            "the last health of each probe in the record",
            "a connection to each instance",
        )
        .expected(policy.interval.get() * policy.passes)
        .build();
    let service = service.name.clone();
    GateStep {
        planned,
        kind: Kind::Health { service, replicas },
    }
}

#[async_trait]
impl Step for GateStep {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn mostly_waits(&self) -> bool {
        matches!(self.kind, Kind::Health { .. })
    }

    fn intent(&self, context: &Context) -> Value {
        json!({ "release": context.to })
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        match &self.kind {
            Kind::Health { service, replicas } => {
                let Some(service) = context.spec.service(service) else {
                    let what = format!("service {service} is not in the deployment file");
                    return Err(StepError::permanent("CD0462", what, ""));
                };
                health::pass(context, service, &context.to, *replicas, true).await?;
                if context.from.is_none() {
                    let all = BTreeMap::from([(context.to.clone(), 100)]);
                    let shares = BTreeMap::from([(service.name.clone(), all)]);
                    context.target.set_traffic(&shares).await?;
                    // Services that are started next may ask this one.
                    shift::settled(context).await;
                } else if context.goes_back() {
                    relief::serve_if_ill(context, service).await?;
                }
            }
            Kind::Smoke => pass_smoke(context).await?,
            Kind::Monitoring => {
                monitoring::pass(context, &context.to).await?;
                let title = "Every service is seen";
                let event = report::gate(context, Gate::Monitoring, "monitoring", title).await?;
                items::settle_watched(context, event).await?;
            }
        }
        Ok(Value::Null)
    }

    async fn verify(&self, context: &Context) -> Result<Check, StepError> {
        Ok(match &self.kind {
            Kind::Health { service, .. } => recorded_health(context, service),
            Kind::Smoke => recorded_answer(context, Gate::Smoke),
            Kind::Monitoring => recorded_answer(context, Gate::Monitoring),
        })
    }

    async fn cross_check(&self, context: &Context) -> Result<Check, StepError> {
        if let Kind::Health { service, .. } = &self.kind {
            let running = green::running(context, service, &context.to).await?;
            let addresses: Vec<_> = running.iter().map(|one| one.address).collect();
            return Ok(green::connect_check(context, &addresses, true).await);
        }
        outside::answers(context, Expected::OnPurpose(&context.to)).await
    }
}

/// Walks the critical paths, where what runs is what was made ready or somebody accepts that it is not. A run that goes
/// back is kept by no other image: its items say so.
async fn pass_smoke(context: &Context) -> Result<(), StepError> {
    let images = integrity::compare(context).await;
    let other = images.as_ref().and_then(integrity::Compared::differs);
    let is_accepted = context.goes_back() || settle::accepts_failed(context, integrity::ITEM)?;
    let other = other.filter(|_| !is_accepted);
    let is_other = other.is_some();
    if let Err(error) = smoke::pass(context, &context.to, other).await {
        if let Some(images) = images.filter(|_| is_other)
            && let Err(unsettled) = integrity::settle(context, images, Vec::new()).await
        {
            // Why the gate did not pass is what the person needs to read.
            tracing::warn!(error = %unsettled, "the item on images was not settled");
        }
        return Err(error);
    }
    report::green(context).await?;
    report::gate(context, Gate::Health, "health", "Health of the new release").await?;
    let event = report::gate(context, Gate::Smoke, "smoke", "Critical paths").await?;
    items::settle_started(context, event).await?;
    if let Some(images) = images {
        integrity::settle(context, images, vec![EvidenceRef::Event(event)]).await?;
    }
    endpoints::validate(context, event).await
}

fn recorded_health(context: &Context, service: &str) -> Check {
    let state = context.state();
    let own = state
        .health
        .iter()
        .filter(|((name, release, ..), _)| name == service && *release == context.to);
    let (all, healthy) = own.fold((0, 0), |(all, healthy), (_, passes)| {
        (all + 1, healthy + usize::from(*passes))
    });
    Check {
        vantage: Vantage::Inside,
        method: "the last health of each probe in the record".to_owned(),
        passed: all == healthy,
        detail: format!("{healthy} of {all} probes of {service} {} pass", context.to),
    }
}

fn recorded_answer(context: &Context, gate: Gate) -> Check {
    let state = context.state();
    let answer = state.gates.iter().rev().find(|answer| answer.gate == gate);
    Check {
        vantage: Vantage::Inside,
        method: "the gate's answer in the record".to_owned(),
        passed: answer.is_some_and(|answer| answer.passed),
        detail: answer.map_or_else(|| "none".to_owned(), |answer| answer.reason.clone()),
    }
}
