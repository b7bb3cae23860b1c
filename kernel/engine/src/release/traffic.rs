//! The steps that give the new release its share of traffic.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_record::{Check, PlannedStep, Source, StepName, Vantage};
use serde_json::{Value, json};

use super::outside::{self, Expected};
use super::planned::Draft;
use super::{client, items, report, shift, split};
use crate::gate::analysis::{self, Soak};
use crate::gate::judge::Limits;
use crate::plan::Inputs;
use crate::spec::{StrategyKind, TrafficStep};
use crate::step::StepError;
use crate::{Context, Result, Step};

/// What a shift and its checks take besides the soak.
const OVERHEAD: Duration = Duration::from_secs(3);

/// Gives the new release a share of the traffic of all services, and watches it.
///
/// # Flow
/// Holds the lease, sets the shares, reads them back where they are served, watches for the length
/// of the soak; verified by the shares as served and by requests through each address. Undone: all
/// traffic goes to the stable release at once, whatever the share was.
///
/// # Guarantees
/// Traffic is split only under a lease that sends it to the stable release when this process dies.
/// Setting the shares that are served already changes nothing. The undo never passes through
/// smaller shares.
///
/// # Assumptions
/// The gates before it have passed: its place in the plan says so. The target switches a service's
/// shares as one.
///
/// # Caveats
/// While the soak lasts, a pause stops the watching and not the traffic; the lease is renewed.
///
/// # Errors
/// `CD0453` the analysis found harm or too little; `CD0460` what is served is not what was set;
/// what the target says.
struct Traffic {
    planned: PlannedStep,
    percent: u16,
    soak: Duration,
    word: &'static str,
    promotes: bool,
}

/// Returns the step that gives the new release a share and watches it.
pub(super) fn step(inputs: &Inputs, step: &TrafficStep, after: Option<&StepName>) -> Arc<dyn Step> {
    let (percent, soak) = (step.percent, step.soak.get());
    let canary = inputs.spec.strategy.kind == StrategyKind::Canary;
    let word = inputs.spec.strategy.kind.word();
    let title = format!(
        "give release {} {percent} % of the traffic and watch it",
        inputs.to
    );
    let own: &[&str] = match (canary, percent) {
        (true, 5) => &["5.2.1", "5.2.2", "5.2.3", "5.2.5", split::ITEM],
        (true, _) => &["5.2.2", "5.2.3", "5.2.5", split::ITEM],
        (false, _) => &[],
    };
    let planned = Draft::new(&format!("release.traffic.{percent}"), title)
        .after(after)
        .items(own)
        .undo(undo_text(inputs))
        .verified(
            "shares read back where they are served",
            "requests through each address",
        )
        .expected(soak + OVERHEAD)
        .build();
    Arc::new(Traffic {
        planned,
        percent,
        soak,
        word,
        promotes: false,
    })
}

/// Returns the step that gives the new release all traffic.
pub(super) fn promotion(inputs: &Inputs, after: Option<&StepName>) -> Arc<dyn Step> {
    let strategy = &inputs.spec.strategy;
    let last = strategy.steps.last().filter(|step| step.percent == 100);
    let quick = inputs.initial || inputs.reverts.is_some();
    let moved_before = super::moves(strategy)
        .iter()
        .any(|step| step.percent == 100);
    let soak = match last {
        Some(step) if !quick && !moved_before => step.soak.get(),
        _ => Duration::ZERO,
    };
    let why = if inputs.initial {
        ": there is no stable release to share it with"
    } else {
        ""
    };
    let title = format!("give release {} all traffic{why}", inputs.to);
    let planned = Draft::new("release.promotion", title)
        .after(after)
        .items(&items::PROMOTION)
        .undo(undo_text(inputs))
        .verified(
            "shares read back where they are served",
            "requests through each address",
        )
        .expected(soak + OVERHEAD)
        .build();
    Arc::new(Traffic {
        planned,
        percent: 100,
        soak,
        word: "promotion",
        promotes: true,
    })
}

fn undo_text(inputs: &Inputs) -> String {
    match &inputs.from {
        Some(from) => format!("all traffic goes back to release {from} at once"),
        None => "no traffic was served before; the instances are stopped next".to_owned(),
    }
}

#[async_trait]
impl Step for Traffic {
    fn planned(&self) -> &PlannedStep {
        &self.planned
    }

    fn intent(&self, context: &Context) -> Value {
        json!({
            "new": context.to, "stable": context.from, "percent": self.percent,
            "services": context.spec.services.iter().map(|s| &s.name).collect::<Vec<_>>(),
        })
    }

    async fn apply(&self, context: &Context) -> Result<Value, StepError> {
        context.safe_point()?;
        let reason = match (self.promotes, context.from.is_none()) {
            (true, true) => "first deployment: there is no stable release".to_owned(),
            (true, false) => "promotion".to_owned(),
            (false, _) => format!("{} {} %", self.word, self.percent),
        };
        shift::to(context, self.percent, &reason).await?;
        if !self.soak.is_zero() {
            shift::settled(context).await;
        }
        // The second of the shift itself holds requests of both splits.
        let since = context.clock.now().timestamp() + 1;
        if !self.soak.is_zero() {
            let soak = self.soak_of(context);
            analysis::pass(context, &Limits, &soak).await?;
        }
        client::mark(context).await?;
        if self.promotes {
            let event = report::promotion(context).await?;
            items::settle_promotion(context, event).await?;
        } else {
            let event = report::traffic(context, self.percent).await?;
            items::settle_traffic(context, self.percent, self.soak, event).await?;
            if !self.soak.is_zero() {
                split::settle(context, self.percent, since, event).await?;
            }
        }
        Ok(json!({ "percent": self.percent }))
    }

    async fn verify(&self, context: &Context) -> Result<Check, StepError> {
        served_check(context, self.percent).await
    }

    async fn cross_check(&self, context: &Context) -> Result<Check, StepError> {
        let to = &context.to;
        match (&context.from, self.percent) {
            (Some(from), 1..100) => outside::answers(context, Expected::Both(from, to)).await,
            _ => outside::answers(context, Expected::Only(to)).await,
        }
    }

    async fn undo(&self, context: &Context) -> Result<Value, StepError> {
        back(context).await
    }

    async fn verify_undone(&self, context: &Context) -> Result<Check, StepError> {
        verify_back(context).await
    }

    async fn cross_check_undone(&self, context: &Context) -> Result<Check, StepError> {
        cross_check_back(context).await
    }
}

impl Traffic {
    fn soak_of(&self, context: &Context) -> Soak {
        let is_whole = self.percent == 100;
        let look_back = || Soak::look_back(context, &self.planned.step, self.soak);
        Soak {
            subject: format!("{} at {} %", self.word, self.percent),
            length: self.soak,
            stable: context.from.clone(),
            stable_since: is_whole.then(look_back),
        }
    }
}

/// Sends all traffic back to the stable release; in a first deployment nobody is served again.
pub(super) async fn back(context: &Context) -> Result<Value, StepError> {
    if context.from.is_none() {
        unserve(context, None).await?;
        return Ok(json!({ "note": "there is no stable release to send traffic to" }));
    }
    shift::to(context, 0, "rollback").await?;
    Ok(json!({ "percent": 0 }))
}

/// Takes all traffic of a first deployment away, of one service or of all.
pub(super) async fn unserve(context: &Context, only: Option<&str>) -> Result<(), StepError> {
    let served = context.target.traffic().await?;
    let served = served.into_iter().filter(|(name, shares)| {
        only.is_none_or(|only| only == name) && shares.values().any(|share| *share > 0)
    });
    let none: std::collections::BTreeMap<_, _> = served
        .map(|(name, _)| (name, crate::target::Shares::new()))
        .collect();
    if !none.is_empty() {
        context.target.set_traffic(&none).await?;
    }
    Ok(())
}

pub(super) async fn verify_back(context: &Context) -> Result<Check, StepError> {
    if context.from.is_some() {
        return served_check(context, 0).await;
    }
    Ok(Check {
        vantage: Vantage::Inside,
        method: "the run's start".to_owned(),
        passed: true,
        detail: "there was no stable release; the instances are stopped next".to_owned(),
    })
}

pub(super) async fn cross_check_back(context: &Context) -> Result<Check, StepError> {
    match &context.from {
        Some(from) => outside::answers(context, Expected::Only(from)).await,
        None => Ok(Check {
            vantage: Vantage::Outside,
            method: "the run's start".to_owned(),
            passed: true,
            detail: "no client was served before".to_owned(),
        }),
    }
}

pub(super) async fn served_check(context: &Context, percent: u16) -> Result<Check, StepError> {
    let served = shift::served(context).await?;
    Ok(Check {
        vantage: Vantage::Inside,
        method: "shares read back where they are served".to_owned(),
        passed: served == shift::shares(context, percent),
        detail: shift::text(&served),
    })
}

/// Goes on with samples when a run is joined. A router writes them also while no run is alive;
/// instances are read by the run itself.
pub(crate) async fn sample_on(context: &Context) -> Result<()> {
    if context.target.counted_by() == Source::Instance {
        let folder = Some(context.run.samples_path());
        let sampled = context.target.sample_into(folder).await;
        sampled.map_err(StepError::from)?;
    }
    Ok(())
}

/// Brings the record up to what is served, when a run is joined: a lease may have run out since.
/// Where traffic is still split, the lease is held again.
pub(crate) async fn converge_record(context: &Context) -> Result<()> {
    let state = context.state();
    if state.traffic.is_empty() {
        return Ok(());
    }
    let served = shift::served(context).await?;
    let stable = context.from.clone().unwrap_or_else(|| context.to.clone());
    let changed: std::collections::BTreeMap<_, _> = served
        .iter()
        .filter(|(service, shares)| {
            state
                .traffic
                .get(*service)
                .is_some_and(|(known, _)| known != *shares)
        })
        .map(|(service, shares)| (service.clone(), shares.clone()))
        .collect();
    let reason = "as found when the run was joined: the lease had run out";
    shift::note(context, &changed, &stable, reason).await?;
    if served.values().any(|shares| shares.len() > 1) {
        shift::hold(context).await?;
    }
    Ok(())
}
