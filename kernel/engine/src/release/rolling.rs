//! A wave of a rolling update: some instances of the new release replace as many of the old one,
//! never below the wanted capacity. One old instance stays until the end of the run, so that going
//! back needs no start before traffic can move.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Check, PlannedStep, Release, StepName};
use serde_json::{Value, json};

use super::outside::{self, Expected};
use super::planned::Draft;
use super::{client, green, items, report, shift, traffic};
use crate::gate::analysis::{self, Soak};
use crate::gate::{health, judge::Limits};
use crate::plan::Inputs;
use crate::spec::{Service, TrafficStep};
use crate::step::StepError;
use crate::{Context, Step};

/// What replacing instances is expected to take besides their health checks and the soak.
const OVERHEAD: Duration = Duration::from_secs(10);

/// Replaces some instances of the old release by as many of the new one.
///
/// # Flow
/// Starts instances of the new release and waits until they are healthy, gives it the share of
/// traffic that is its share of instances, then scales the old release down, and watches; verified
/// as a move of traffic is. Undone: the old release is brought to its full size, healthy, before
/// all traffic goes back to it.
///
/// # Guarantees
/// There are never fewer instances than wanted, and never none of the old release before the run
/// ends. A second apply starts and stops only what is missing or too much.
///
/// # Assumptions
/// The target can run fewer instances of a release than before.
///
/// # Caveats
/// Going back takes the time that the old release needs to get healthy.
///
/// # Errors
/// `CD0450` the new instances do not get healthy; `CD0453`, `CD0460`; what the target says.
struct Wave {
    planned: PlannedStep,
    percent: u16,
    soak: Duration,
}

/// Returns the wave that brings the new release to that share of instances and traffic.
pub(super) fn wave(inputs: &Inputs, step: &TrafficStep, after: Option<&StepName>) -> Arc<dyn Step> {
    let (percent, soak) = (step.percent, step.soak.get());
    let policy = &inputs.spec.strategy.health;
    let own: &[&str] = match percent {
        25 => &["5.3.1", "5.3.4"],
        50 => &["5.3.2", "5.3.4"],
        100 => &["5.3.3", "5.3.4"],
        _ => &["5.3.4"],
    };
    let title = format!(
        "bring release {} to {percent} % of instances and traffic",
        inputs.to
    );
    let back = inputs
        .from
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let planned = Draft::new(&format!("release.traffic.{percent}"), title)
        .after(after)
        .items(own)
        .undo(format!(
            "bring {back} to its full size again, healthy, then send all traffic to it"
        ))
        .verified(
            "shares read back where they are served",
            "requests through each address",
        )
        .expected(soak + OVERHEAD + policy.interval.get() * policy.passes)
        .build();
    Arc::new(Wave {
        planned,
        percent,
        soak,
    })
}

/// Returns how many instances of the new and of the old release a service with so many replicas
/// has once a wave has brought the new one to that share: at least one of each.
#[must_use]
pub fn instances_at(replicas: u32, percent: u16) -> (u32, u32) {
    let wanted = u64::from(replicas) * u64::from(percent);
    let new = u32::try_from(wanted.div_ceil(100))
        .unwrap_or(u32::MAX)
        .clamp(1, replicas.max(1));
    (new, replicas.saturating_sub(new).max(1))
}

fn of_new(service: &Service, percent: u16) -> u32 {
    instances_at(service.replicas, percent).0
}

impl Wave {
    async fn raise(&self, context: &Context) -> Result<(), StepError> {
        for service in &context.spec.services {
            context.safe_point()?;
            let replicas = of_new(service, self.percent);
            let wanted = green::wanted(context, &service.name, &context.to, replicas)?;
            context.target.start(&wanted).await?;
            health::pass(context, service, &context.to, replicas, true).await?;
        }
        Ok(())
    }

    async fn lower(&self, context: &Context, from: &Release) -> Result<(), StepError> {
        for service in context.spec.services.iter().rev() {
            let (_, left) = instances_at(service.replicas, self.percent);
            let running = green::running(context, &service.name, from).await?.len();
            if running > left as usize {
                let grace = green::grace(context, &service.name);
                context
                    .target
                    .scale_down(&service.name, from, left, grace)
                    .await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Step for Wave {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn intent(&self, context: &Context) -> Value {
        let each = context.spec.services.iter();
        let each = each.map(|service| (service.name.clone(), of_new(service, self.percent)));
        let each: std::collections::BTreeMap<_, _> = each.collect();
        json!({ "new": context.to, "old": context.from, "percent": self.percent, "instances": each })
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        self.raise(context).await?;
        shift::to(
            context,
            self.percent,
            &format!("rolling {} %", self.percent),
        )
        .await?;
        if let Some(from) = context.from.clone() {
            self.lower(context, &from).await?;
        }
        if !self.soak.is_zero() {
            shift::settled(context).await;
            let is_whole = self.percent == 100;
            let look_back = || Soak::look_back(context, &self.planned.step, self.soak);
            let soak = Soak {
                subject: format!("rolling at {} %", self.percent),
                length: self.soak,
                stable: context.from.clone(),
                stable_since: is_whole.then(look_back),
            };
            analysis::pass(context, &Limits, &soak).await?;
        }
        client::mark(context).await?;
        let event = report::traffic(context, self.percent).await?;
        items::settle_traffic(context, self.percent, self.soak, event).await?;
        Ok(json!({ "percent": self.percent }))
    }

    async fn verify(&self, context: &Context) -> Result<Check, StepError> {
        traffic::served_check(context, self.percent).await
    }

    async fn cross_check(&self, context: &Context) -> Result<Check, StepError> {
        match &context.from {
            Some(from) if self.percent < 100 => {
                outside::answers(context, Expected::Both(from, &context.to)).await
            }
            _ => outside::answers(context, Expected::Only(&context.to)).await,
        }
    }

    async fn undo(&self, context: &Context) -> Result<Value, StepError> {
        if let Some(from) = context.from.clone() {
            for service in &context.spec.services {
                let replicas = service.replicas;
                let wanted = green::wanted(context, &service.name, &from, replicas)?;
                context.target.start(&wanted).await?;
                health::pass(context, service, &from, replicas, false).await?;
            }
        }
        traffic::back(context).await
    }

    async fn verify_undone(&self, context: &Context) -> Result<Check, StepError> {
        traffic::verify_back(context).await
    }

    async fn cross_check_undone(&self, context: &Context) -> Result<Check, StepError> {
        traffic::cross_check_back(context).await
    }
}
