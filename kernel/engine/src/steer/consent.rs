//! Whether an answer to an approval counts: what was signed, by whom, until when.

use code_deploy_record::{Consent, ConsentWaiver, Digest, PublicKey, RunId, SignedConsent};

use crate::Context;
use crate::context::Answer;
use crate::spec::{ApprovalRule, Spec};

/// Returns the waivers of a deployment file as a person signs them.
#[must_use]
pub fn waivers(spec: &Spec) -> Vec<ConsentWaiver> {
    let waivers = spec.file.waivers.iter().map(|waiver| ConsentWaiver {
        item: waiver.item.clone(),
        by: waiver.by.clone(),
        reason: waiver.reason.clone(),
        expires: waiver.expires,
    });
    waivers.collect()
}

/// Checks what was signed with an answer, or that nothing has to be.
///
/// # Errors
/// Why the answer does not count, in words.
pub(super) fn check(
    context: &Context,
    gate: &str,
    plan: Digest,
    answer: &Answer,
    signed: Option<&SignedConsent>,
) -> Result<(), String> {
    let signers = &context.spec.file.approvals.signers;
    let Some(signed) = signed else {
        return match signers.is_empty() {
            true => Ok(()),
            false => Err(
                "an approval has to be signed here: `code-deploy approve --sign KEY \
                          --reason TEXT`"
                    .to_owned(),
            ),
        };
    };
    let (consent, key) = signed.read().map_err(|error| error.to_string())?;
    let state = context.state();
    let run = state.started.as_ref().map(|started| &started.run);
    if !is_of(&consent, run, gate, plan, answer) {
        return Err("what was signed is not this answer to what is asked of this run".to_owned());
    }
    let now = context.clock.now();
    if now < consent.signed || now >= consent.expires {
        let (from, to) = (consent.signed, consent.expires);
        return Err(format!(
            "what was signed counts from {from} to {to}, and it is {now}"
        ));
    }
    if consent.waivers != waivers(&context.spec) {
        return Err("the waivers that were signed are not those of the deployment file".to_owned());
    }
    if !signers.is_empty() {
        let Some(named) = signers.get(&answer.by) else {
            let known: Vec<&str> = signers.keys().map(String::as_str).collect();
            return Err(format!(
                "the deployment file has no key for {}; `approvals.signers` has those of {}",
                answer.by,
                known.join(", ")
            ));
        };
        if PublicKey::parse(named).ok().as_ref() != Some(&key) {
            return Err(format!(
                "it is not signed with the key that the deployment file has for {}",
                answer.by
            ));
        }
    }
    let seals = state
        .key
        .as_ref()
        .map(code_deploy_record::PublicKeys::ed25519);
    if context.spec.policy.approval == ApprovalRule::SomebodyElse && seals == Some(key) {
        return Err(
            "the key that signed it is the one that seals the run; the policy wants two \
                    persons"
                .to_owned(),
        );
    }
    Ok(())
}

fn is_of(
    consent: &Consent,
    run: Option<&RunId>,
    gate: &str,
    plan: Digest,
    answer: &Answer,
) -> bool {
    Some(&consent.run) == run
        && consent.gate == gate
        && consent.plan == plan
        && (&consent.by, consent.go, &consent.reason) == (&answer.by, answer.go, &answer.reason)
}
