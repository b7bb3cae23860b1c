//! Every operation of the new release, asked before users reach it.

use code_deploy_record::{Basis, EvidenceRef, ItemId, Verdict};

use crate::contract::{self, ContractResult};
use crate::step::StepError;
use crate::{Context, settle};

/// The item on endpoints of green.
pub(super) const ITEM: &str = "5.1.3";

/// Asks every operation of the services' OpenAPI documents of the new release on purpose, and
/// settles the item. Where a fault is planted, finding it is left to the gates.
///
/// # Errors
/// `CD0456` when an operation does not answer as declared and the policy does not accept that;
/// that the target cannot be observed or the journal written.
pub(super) async fn validate(context: &Context, event: u64) -> Result<(), StepError> {
    let Ok(item) = ITEM.parse::<ItemId>() else {
        return Ok(());
    };
    let state = context.state();
    let planted = state
        .started
        .as_ref()
        .and_then(|run| run.planted_fault.as_ref());
    let (verdict, reason) = match planted {
        Some(fault) => {
            let text = format!(
                "the fault `{fault}` is planted on purpose: finding it is left to the gates"
            );
            (Verdict::Open, text)
        }
        None => {
            let results = contract::check_all(context, Some(&context.to)).await?;
            judge(context, &results)
        }
    };
    let failed = verdict == Verdict::Failed;
    let what = format!("operations of release {}: {reason}", context.to);
    let evidence = vec![EvidenceRef::Event(event)];
    context.settle(&item, verdict, reason, evidence).await?;
    if failed && !settle::accepts_failed(context, ITEM)? {
        let next = "Change the service or its OpenAPI document, so that both say the same, and deploy again.";
        return Err(StepError::gate("CD0456", what, next));
    }
    Ok(())
}

fn judge(context: &Context, results: &[(String, ContractResult)]) -> (Verdict, String) {
    let services = context.spec.services.iter().map(|one| one.name.as_str());
    let without: Vec<_> = services
        .filter(|name| !results.iter().any(|(known, _)| known == name))
        .collect();
    let summary = contract::Summary::of(results);
    let mut reason = summary.to_string();
    if let Some((operation, detail)) = contract::first_wrong(results) {
        reason.push_str(&format!("; {operation}: {detail}"));
        return (Verdict::Failed, reason);
    }
    if !without.is_empty() {
        reason.push_str(&format!("; no OpenAPI document of {}", without.join(", ")));
    }
    if summary.not_asked > 0 || !without.is_empty() {
        return (Verdict::Open, reason);
    }
    let basis = Basis::Observed;
    (Verdict::Met { basis }, reason)
}
