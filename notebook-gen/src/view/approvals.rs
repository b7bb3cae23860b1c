//! Who said go or no-go to what, and which items a person accepted not to hold: by which key, and until when.

use code_deploy_record::{Block, ConsentWaiver, PhaseNumber, PublicKey, Report, Verdict};

use crate::approval::Approval;
use crate::facts::{At, Facts};
use crate::format::{clock, moment};
use crate::view::lists::table;
use crate::view::{columns, row};

pub(super) fn approvals(facts: &Facts) -> Report {
    let rows = facts.approvals.iter().map(|approval| line(facts, approval));
    let titles = columns([
        "Time (UTC)",
        "Of",
        "By",
        "Answer",
        "Why",
        "Plan",
        "Signature",
        "Key",
        "Counts until",
        "Event",
    ]);
    let none = format!("No approval was given in this run: {}.", asked_for(facts));
    let mut report = table("Approvals", titles, rows.collect(), &none);
    if facts.approvals.iter().any(|one| one.what.two_persons) {
        report = report.with_text(format!(
            "The policy of {} asked for another person than {}, who ran the deployment.",
            facts.started.environment, facts.started.user
        ));
    }
    match &facts.state.approval_asked {
        Some((gate, plan)) => report.with_text(format!(
            "Asked for and not answered: {gate} of plan {}.",
            plan.short()
        )),
        None => report,
    }
}

fn line(facts: &Facts, approval: &At<Approval>) -> Vec<String> {
    let what = &approval.what;
    let (key, until) = match &what.signature {
        Some(Ok((consent, key))) => (key_text(key), moment(consent.expires)),
        _ => (
            "none".to_owned(),
            "the end of this run: an answer that is not signed has no expiry".to_owned(),
        ),
    };
    row([
        &clock(approval.time),
        &what.gate,
        &what.by,
        if what.go { "go" } else { "no-go" },
        &what.reason,
        &plan(facts, what),
        &signature(what),
        &key,
        &until,
        &approval.seq.to_string(),
    ])
}

fn plan(facts: &Facts, approval: &Approval) -> String {
    let own = facts.state.plan.as_ref().map(|plan| plan.digest);
    match own == Some(approval.plan) {
        true => approval.plan.short(),
        false => format!(
            "{}, which is not the plan of this run",
            approval.plan.short()
        ),
    }
}

fn signature(approval: &Approval) -> String {
    match (&approval.signature, approval.must_be_signed) {
        (Some(Ok(_)), true) => "verified, with the key that is known as theirs".to_owned(),
        (Some(Ok(_)), false) => {
            "verified; the deployment file names no key, so whose it is stands open".to_owned()
        }
        (Some(Err(why)), _) => format!("does not count: {why}"),
        (None, true) => "not signed, though the deployment file names keys".to_owned(),
        (None, false) => "not signed: the deployment file names no key".to_owned(),
    }
}

/// Returns a key as an auditor compares it.
fn key_text(key: &PublicKey) -> String {
    key.fingerprint().unwrap_or_else(|| key.name())
}

/// Returns what the policy asks for in words, as the plan's scope tells it.
pub(super) fn asked_for(facts: &Facts) -> String {
    let environment = &facts.started.environment;
    match rule(facts) {
        Some(("none", event)) => {
            format!("the policy of {environment} asks for no approval (event {event})")
        }
        Some((rule, event)) => {
            let by = match rule {
                "somebodyelse" => " by another person than the one who deploys",
                _ => "",
            };
            format!(
                "the policy of {environment} asks for one{by} (event {event}), and none is in the record"
            )
        }
        None => "what the policy asks for is not in the record".to_owned(),
    }
}

/// Returns the policy's rule about approvals with the event that tells it.
fn rule(facts: &Facts) -> Option<(&str, u64)> {
    let mut sections = facts.sections.iter();
    let scope =
        sections.find(|one| one.phase == PhaseNumber::new(1) && one.what.name == "scope")?;
    let rows = scope
        .what
        .report
        .blocks
        .iter()
        .filter_map(|block| match block {
            Block::Table { caption, rows, .. } if caption == "Policy" => Some(rows),
            _ => None,
        });
    let mut rows = rows.flatten();
    let row = rows.find(|row| row.first().is_some_and(|entry| entry == "Approval"))?;
    Some((row.get(1)?.as_str(), scope.seq))
}

pub(super) fn waivers(facts: &Facts) -> Report {
    let mut rows = Vec::new();
    for (item, state) in &facts.state.items {
        if let Verdict::Waived { by, expires } = &state.verdict {
            let item = item.to_string();
            rows.push(row([
                &item,
                by,
                &expires.to_string(),
                &state.reason,
                &accepted(facts, &item),
                &state.seq.to_string(),
            ]));
        }
    }
    let titles = columns(["Item", "By", "Until", "Why", "Signature", "Event"]);
    table("Waivers", titles, rows, "No item was waived.")
}

/// Says whether a signed approval accepts that an item does not hold.
fn accepted(facts: &Facts, item: &str) -> String {
    let signed = facts.approvals.iter().filter_map(|approval| {
        let (consent, key) = approval.what.signature.as_ref()?.as_ref().ok()?;
        Some((approval, consent, key))
    });
    let is_of_item = |waiver: &ConsentWaiver| waiver.item.to_string() == item;
    let mut is_any_signed = false;
    for (approval, consent, key) in signed {
        is_any_signed = true;
        if consent.waivers.iter().any(is_of_item) {
            return format!(
                "verified, of {} with {}, event {}",
                consent.by,
                key_text(key),
                approval.seq
            );
        }
    }
    match is_any_signed {
        true => "none: the signed approval does not accept it".to_owned(),
        false => "not signed: no approval of this run is".to_owned(),
    }
}

#[cfg(test)]
mod tests;
