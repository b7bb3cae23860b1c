//! Stopping the old release: the last change of a run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Check, PlannedStep, Release, Vantage};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::green;
use super::outside::{self, Expected};
use super::planned::Draft;
use crate::gate::health;
use crate::plan::Inputs;
use crate::step::StepError;
use crate::{Context, Progress, Step};

/// The time between two looks whether a person wants to go back.
const LOOK: Duration = Duration::from_millis(200);

/// Stops the old release.
///
/// # Flow
/// Waits until the old release has been without traffic for as long as it is to be kept, then
/// stops its instances service by service; verified by the target's own status and by requests
/// through each address. Undone: starts it again and waits until it is healthy.
///
/// # Guarantees
/// Nothing is stopped before all phases have passed, and nothing that has traffic. A second apply
/// stops what is left.
///
/// # Assumptions
/// The promotion was verified: the old release has no share.
///
/// # Caveats
/// From here on going back takes a start of the old release.
///
/// # Errors
/// What the target says; in the undo `CD0450`, the old release does not get healthy.
struct StopOld {
    planned: PlannedStep,
    from: Release,
}

/// Returns the step that stops the old release; nothing in a first deployment.
pub(super) fn step(inputs: &Inputs) -> Option<Arc<dyn Step>> {
    let from = inputs.from.clone()?;
    let keep = inputs.spec.strategy.keep_old.get();
    let title = format!(
        "stop release {from}, at the earliest {} s after traffic left it",
        keep.as_secs()
    );
    let planned = Draft::of_phase(9, "finish.old-release", title)
        .undo(format!(
            "start release {from} again and wait until it is healthy"
        ))
        .verified(
            "the platform's own status of the instances",
            "requests through each address",
        )
        .expected(keep + Duration::from_secs(5))
        .build();
    Some(Arc::new(StopOld { planned, from }))
}

impl StopOld {
    /// Waits until the old release has been without traffic for as long as it is to be kept.
    async fn wait_kept(&self, context: &Context) -> Result<(), StepError> {
        let keep = context.spec.strategy.keep_old.get();
        // The clock on the wall may be set meanwhile, in either direction.
        let (before, began) = (kept(context).min(keep), Instant::now());
        loop {
            context.safe_point()?;
            let kept = before + began.elapsed();
            let Some(left) = keep.checked_sub(kept).filter(|left| !left.is_zero()) else {
                return Ok(());
            };
            context.progress(Progress {
                what: format!("release {} is kept for a way back", self.from),
                elapsed: kept,
                limit: Some(keep),
                share: Some(kept.as_secs_f64() / keep.as_secs_f64()),
            });
            tokio::time::sleep(LOOK.min(left)).await;
        }
    }
}

/// Returns for how long traffic has left the old release.
fn kept(context: &Context) -> Duration {
    let state = context.state();
    let promotion = super::planned::step_name("release.promotion");
    let since = state.steps.get(&promotion).map(|step| {
        let took = i64::try_from(step.duration_us.unwrap_or(0)).unwrap_or(0);
        step.started + chrono::Duration::microseconds(took)
    });
    let kept = since.map(|since| context.clock.now() - since);
    kept.and_then(|kept| kept.to_std().ok()).unwrap_or_default()
}

#[async_trait]
impl Step for StopOld {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.planned.expected_ms) + Duration::from_secs(600)
    }

    fn intent(&self, context: &Context) -> Value {
        let services: Vec<_> = context.spec.services.iter().map(|s| &s.name).collect();
        json!({ "release": self.from, "services": services })
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        self.wait_kept(context).await?;
        let mut stopped = Vec::new();
        for service in context.spec.services.iter().rev() {
            let grace = green::grace(context, &service.name);
            stopped.push(
                context
                    .target
                    .stop(&service.name, &self.from, grace)
                    .await?,
            );
        }
        Ok(json!({ "stopped": stopped }))
    }

    async fn verify(&self, context: &Context) -> Result<Check, StepError> {
        let mut left = Vec::new();
        for service in &context.spec.services {
            let running = green::running(context, &service.name, &self.from).await?;
            left.extend(running.into_iter().map(|one| one.id));
        }
        let detail = match left.len() {
            0 => format!("no instance of {} runs", self.from),
            number => format!(
                "{number} instances of {} run: {}",
                self.from,
                left.join(", ")
            ),
        };
        let method = "the platform's own status of the instances".to_owned();
        Ok(Check {
            vantage: Vantage::Inside,
            method,
            passed: left.is_empty(),
            detail,
        })
    }

    async fn cross_check(&self, context: &Context) -> Result<Check, StepError> {
        outside::answers(context, Expected::Only(&context.to)).await
    }

    async fn undo(&self, context: &Context) -> Result<Value, StepError> {
        for service in &context.spec.services {
            let wanted = green::wanted(context, &service.name, &self.from, service.replicas)?;
            context.target.start(&wanted).await?;
            health::pass(context, service, &self.from, service.replicas, false).await?;
        }
        Ok(json!({ "started": self.from }))
    }

    async fn verify_undone(&self, context: &Context) -> Result<Check, StepError> {
        let mut detail = Vec::new();
        let mut passed = true;
        for service in &context.spec.services {
            let running = green::running(context, &service.name, &self.from)
                .await?
                .len();
            passed &= running >= service.replicas as usize;
            detail.push(format!(
                "{} {running} of {}",
                service.name, service.replicas
            ));
        }
        let method = "the platform's own status of the instances".to_owned();
        let detail = format!("instances of {}: {}", self.from, detail.join(", "));
        Ok(Check {
            vantage: Vantage::Inside,
            method,
            passed,
            detail,
        })
    }

    async fn cross_check_undone(&self, context: &Context) -> Result<Check, StepError> {
        outside::answers(context, Expected::OnPurpose(&self.from)).await
    }
}
