//! The rehearsed rollback: after the first move, traffic goes back once on purpose and forward
//! again, and what that took and cost is measured.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Check, EventBody, PlannedStep, StepName};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::outside::{self, Expected};
use super::planned::Draft;
use super::{client, report, shift, traffic};
use crate::plan::Inputs;
use crate::step::StepError;
use crate::{Context, Step};

/// What going back and forward is expected to take.
const EXPECTED: Duration = Duration::from_secs(4);

/// Rehearses the rollback of traffic.
///
/// # Flow
/// Sends all traffic to the stable release, measures how long that took and what it cost, and
/// gives the new release its share again; verified as a move of traffic is. Undone as a move of
/// traffic is.
///
/// # Guarantees
/// What is measured is in the record before traffic moves forward again.
///
/// # Assumptions
/// The share that it goes forward to is one that was watched before.
///
/// # Caveats
/// A process that dies in between leaves all traffic on the stable release; the rehearsal is then
/// made again as a whole.
///
/// # Errors
/// `CD0460` what is served is not what was set; what the target says.
struct Rehearsal {
    planned: PlannedStep,
    percent: u16,
}

/// Returns the step; `percent` is the share to go forward to again.
pub(super) fn step(inputs: &Inputs, percent: u16, after: Option<&StepName>) -> Arc<dyn Step> {
    let planned = Draft::new(
        "release.rehearsal",
        "go back to 0 % on purpose, and forward again",
    )
    .after(after)
    .undo(match &inputs.from {
        Some(from) => format!("all traffic goes back to release {from} at once"),
        None => "nothing to go back to".to_owned(),
    })
    .verified(
        "shares read back where they are served",
        "requests through each address",
    )
    .expected(EXPECTED)
    .build();
    Arc::new(Rehearsal { planned, percent })
}

#[async_trait]
impl Step for Rehearsal {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn intent(&self, context: &Context) -> Value {
        json!({ "back_to": context.from, "forward_to_percent": self.percent })
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        context.safe_point()?;
        let before = client::totals(context).await?;
        let began = Instant::now();
        shift::to(context, 0, "rehearsal").await?;
        shift::settled(context).await;
        let took = began.elapsed();
        let back_at = context.clock.now();
        let after = client::totals_after(context, back_at).await?;
        let (failed, answered) = match (before, after) {
            (Some(before), Some(after)) => (
                after.failed.saturating_sub(before.failed),
                after.answered.saturating_sub(before.answered),
            ),
            _ => (0, 0),
        };
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let body = EventBody::RollbackRehearsed {
            duration_us,
            failed,
            answered,
        };
        context.journal.append("engine", body).await?;
        let reason = format!("forward again to {} % after the rehearsal", self.percent);
        shift::to(context, self.percent, &reason).await?;
        client::mark(context).await?;
        report::rehearsal(context).await?;
        Ok(json!({ "duration_us": duration_us, "failed": failed, "answered": answered }))
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
        traffic::back(context).await
    }

    async fn verify_undone(&self, context: &Context) -> Result<Check, StepError> {
        traffic::verify_back(context).await
    }

    async fn cross_check_undone(&self, context: &Context) -> Result<Check, StepError> {
        traffic::cross_check_back(context).await
    }
}
