//! The items that no step settled: attested, waived, not applicable, or open.

use code_deploy_record::{
    Basis, Catalog, Item, ItemId, PhaseNumber, StepName, StepStatus, Verdict,
};

use crate::phases::{self, look};
use crate::plan::Inputs;
use crate::runner::ItemFacts;
use crate::spec::Reaction;
use crate::step::StepError;
use crate::{Context, Result, policy};

/// Settles what no step settled, and lets waivers count: what is due at the end of one phase, or all.
///
/// # Errors
/// When the journal cannot be written.
pub(crate) async fn settle_rest(
    context: &Context,
    inputs: &Inputs,
    facts: ItemFacts,
    catalog: &Catalog,
    phase: Option<PhaseNumber>,
) -> Result<()> {
    for (group, item) in catalog.items() {
        let state = context.state();
        let due = policy::due(&state, group.notebook, item);
        if phase.is_some_and(|phase| !policy::is_judged(&state, group.notebook, item, phase)) {
            continue;
        }
        let settled = state.items.get(&item.id).map(|item| item.verdict.clone());
        let verdict = match settled {
            // A step of a later phase looks at it.
            None if phase.is_some_and(|phase| phase < due) => None,
            None => Some(without_step(context, inputs, facts, item)),
            Some(Verdict::Open) => attested(context, item).or_else(|| waived(context, item)),
            Some(Verdict::Failed) => waived(context, item),
            Some(_) => None,
        };
        if let Some((verdict, reason)) = verdict {
            context
                .settle(&item.id, verdict, reason, Vec::new())
                .await?;
        }
    }
    Ok(())
}

/// Lets waivers count for all items that do not hold, whichever phase they are of.
///
/// # Errors
/// When the journal cannot be written.
pub(crate) async fn waive_failed(context: &Context, catalog: &Catalog) -> Result<()> {
    let state = context.state();
    for (_, item) in catalog.items() {
        let settled = state.items.get(&item.id);
        let failed = settled.is_some_and(|settled| settled.verdict == Verdict::Failed);
        if failed && let Some((verdict, reason)) = waived(context, item) {
            context
                .settle(&item.id, verdict, reason, Vec::new())
                .await?;
        }
    }
    Ok(())
}

/// The item that no secret stands in plain text, the record included.
const NO_PLAIN_SECRET: &str = "7.3.6";

/// Searches the record for known secrets once more, when everything else is in it: what phase 7
/// found holds for the whole run only then.
///
/// # Errors
/// When the record cannot be read or written.
pub(crate) async fn search_record_again(context: &Context) -> Result<(), StepError> {
    let Ok(item) = NO_PLAIN_SECRET.parse::<ItemId>() else {
        return Ok(());
    };
    let Some(settled) = context.state().items.get(&item).cloned() else {
        return Ok(());
    };
    let Verdict::Met { .. } = settled.verdict else {
        return Ok(());
    };
    let (events, _, leaked) = look::record(context).await?;
    let (verdict, end) = match leaked {
        None => (settled.verdict, "nothing".to_owned()),
        Some(name) => (Verdict::Failed, name),
    };
    let reason = format!(
        "{}; the record searched again at the end of the run, {events} events: {end}",
        settled.reason
    );
    context
        .settle(&item, verdict, reason, settled.evidence)
        .await
}

/// Returns whether the run goes on when that item does not hold: by the policy, or by a waiver
/// that counts.
///
/// # Errors
/// When the catalogue cannot be read.
pub(crate) fn accepts_failed(context: &Context, item: &str) -> Result<bool, StepError> {
    if context.spec.policy.failed == Reaction::Note {
        return Ok(true);
    }
    let catalog = Catalog::shipped()?;
    let found = catalog.items().find(|(_, one)| one.id.as_str() == item);
    Ok(found.is_some_and(|(_, item)| waived(context, item).is_some()))
}

fn without_step(
    context: &Context,
    inputs: &Inputs,
    facts: ItemFacts,
    item: &Item,
) -> (Verdict, String) {
    let attested_or_waived = || attested(context, item).or_else(|| waived(context, item));
    if let Some(fact) = facts(item, inputs) {
        let reason = format!("does not apply: {fact}");
        return (Verdict::NotApplicable { fact }, reason);
    }
    attested_or_waived().unwrap_or_else(|| (Verdict::Open, open_reason(context, inputs, item)))
}

fn open_reason(context: &Context, inputs: &Inputs, item: &Item) -> String {
    let state = context.state();
    let planned = state.plan.iter().flat_map(|plan| &plan.steps);
    let of_item: Vec<_> = planned
        .filter(|step| step.items.contains(&item.id))
        .collect();
    let ended = |name: &StepName| {
        let step = state.steps.get(name);
        step.is_some_and(|step| step.status == StepStatus::Done)
    };
    let unfinished: Vec<_> = of_item
        .iter()
        .filter(|step| !ended(&step.step))
        .map(|step| step.step.to_string())
        .collect();
    if !unfinished.is_empty() {
        let named = unfinished.join(", ");
        return format!("planned to be settled by {named}, which did not come so far");
    }
    if let [first, ..] = of_item.as_slice() {
        return format!("{} ended without establishing it", first.step);
    }
    if inputs.reverts.is_some() && phases::items_of_what_runs(inputs).contains(&item.id) {
        return phases::NOT_JUDGED.to_owned();
    }
    if item.by == Basis::Attested {
        let key = "`attestations` of the deployment file";
        return format!("a named person has to vouch for it, and nobody does in {key}");
    }
    let target = &context.spec.target;
    format!("nothing in a run on target {target} establishes it")
}

fn attested(context: &Context, item: &Item) -> Option<(Verdict, String)> {
    if item.by != Basis::Attested {
        return None;
    }
    let today = context.clock.now().date_naive();
    let attestations = &context.spec.file.attestations;
    let found = attestations
        .iter()
        .find(|a| a.item == item.id && a.date <= today)?;
    let (by, date) = (&found.by, found.date);
    let reason = format!(
        "{by} vouched for it on {date}: {} ({})",
        found.statement, found.proof
    );
    Some((
        Verdict::Met {
            basis: Basis::Attested,
        },
        reason,
    ))
}

fn waived(context: &Context, item: &Item) -> Option<(Verdict, String)> {
    let today = context.clock.now().date_naive();
    let waivers = &context.spec.file.waivers;
    let policy = &context.spec.policy;
    let found = waivers
        .iter()
        .find(|w| policy::waiver_counts(policy, item, w, today))?;
    let (by, expires) = (found.by.clone(), found.expires);
    let reason = format!(
        "{by} accepts until {expires} that it does not hold: {}",
        found.reason
    );
    Some((Verdict::Waived { by, expires }, reason))
}
