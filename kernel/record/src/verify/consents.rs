//! Whether approvals are signed as the policy wanted.

use std::collections::{BTreeMap, BTreeSet};

use super::{FindingKind, VerifyReport};
use crate::{
    Digest, Event, EventBody, ItemId, PublicKey, RunFolder, RunId, SignedConsent, Verdict,
};

/// An approval, and who stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// What was approved.
    pub gate: String,
    /// Who, as the record says.
    pub by: String,
    /// Whether it was a go.
    pub go: bool,
    /// The key that signed it; nothing when nobody signed.
    pub key: Option<PublicKey>,
    /// Whether the policy wanted a second person.
    pub two_persons: bool,
}

/// The approvals of a record.
#[derive(Default)]
pub(super) struct Consents {
    run: Option<RunId>,
    plan: Option<Digest>,
    two_persons: BTreeMap<String, bool>,
    signers: BTreeMap<String, BTreeMap<String, String>>,
    signed: Option<(u64, SignedConsent)>,
    /// Whether an answer was given for which only those count whose keys are named.
    must_be_signed: bool,
    approved: Vec<(u64, Approved)>,
    waived: BTreeMap<ItemId, u64>,
    accepted: BTreeSet<ItemId>,
}

impl Consents {
    pub(super) fn note(&mut self, event: &Event, report: &mut VerifyReport) {
        let number = event.seq;
        match &event.body {
            EventBody::RunStarted(started) => self.run = Some(started.run.clone()),
            EventBody::Planned(planned) => self.plan = Some(planned.digest),
            EventBody::ApprovalAsked {
                gate,
                two_persons,
                signers,
                ..
            } => {
                self.two_persons.insert(gate.clone(), *two_persons);
                self.signers.insert(gate.clone(), signers.clone());
                self.signed = None;
            }
            EventBody::ConsentSigned(signed) => self.signed = Some((number, signed.clone())),
            EventBody::ApprovalGiven { gate, by, go, .. } => {
                let must_be_signed = self.signers.get(gate).is_some_and(|one| !one.is_empty());
                self.must_be_signed |= must_be_signed;
                let signed = self.signed.take();
                if signed.is_none() && must_be_signed {
                    let what = nobody_signed(gate, by, *go);
                    report.found(FindingKind::Approval, RunFolder::place_of(number), what);
                }
                let key = signed.and_then(|(at, signed)| {
                    self.judge_one((at, &signed), (event, gate.as_str()), report)
                });
                let approved = Approved {
                    gate: gate.clone(),
                    by: by.clone(),
                    go: *go,
                    key,
                    two_persons: self.two_persons.get(gate).copied().unwrap_or(false),
                };
                self.approved.push((number, approved));
            }
            EventBody::ItemSettled { item, verdict, .. } => {
                match verdict {
                    Verdict::Waived { .. } => self.waived.insert(item.clone(), number),
                    _ => self.waived.remove(item),
                };
            }
            _ => {}
        }
    }

    /// Returns the key that signed an approval, where the signature is over this very approval.
    fn judge_one(
        &mut self,
        (number, signed): (u64, &SignedConsent),
        (event, gate): (&Event, &str),
        report: &mut VerifyReport,
    ) -> Option<PublicKey> {
        let none = BTreeMap::new();
        let signers = self.signers.get(gate).unwrap_or(&none);
        let of = (self.run.as_ref(), self.plan.as_ref());
        match signed.of_answer(event, of, signers) {
            Ok((consent, key)) => {
                self.accepted
                    .extend(consent.waivers.into_iter().map(|waiver| waiver.item));
                Some(key)
            }
            Err(what) => {
                let place = RunFolder::place_of(number);
                report.found(FindingKind::Approval, place, what);
                None
            }
        }
    }

    /// Says where two persons were wanted and both keys are one, and what was waived without being
    /// signed where somebody signed waivers, or had to.
    pub(super) fn judge(self, report: &mut VerifyReport) {
        let seals: Vec<PublicKey> = report
            .seal
            .keys
            .iter()
            .map(|(_, keys)| keys.ed25519())
            .collect();
        for (number, approved) in &self.approved {
            let Some(key) = approved.key.as_ref().filter(|_| approved.two_persons) else {
                continue;
            };
            if seals.contains(key) {
                let what = format!(
                    "the policy wants two persons, and the approval of {} is signed with the key that \
                     seals the run: both keys are one ({})",
                    approved.gate,
                    key.name()
                );
                report.found(FindingKind::Approval, RunFolder::place_of(*number), what);
            }
        }
        let mut keys = self.approved.iter().map(|(_, approved)| &approved.key);
        let are_signed = self.must_be_signed || keys.any(Option::is_some);
        let unsigned = self
            .waived
            .iter()
            .filter(|(item, _)| !self.accepted.contains(*item));
        for (item, number) in unsigned.filter(|_| are_signed) {
            let what = format!("item {item} is waived, and no signed approval accepts that");
            report.found(FindingKind::Approval, RunFolder::place_of(*number), what);
        }
        report.approved = self
            .approved
            .into_iter()
            .map(|(_, approved)| approved)
            .collect();
    }
}

/// Says that nobody signed an answer to an approval for which only signed ones count.
fn nobody_signed(gate: &str, by: &str, go: bool) -> String {
    let word = if go { "go" } else { "no-go" };
    format!(
        "the {word} of {by} to {gate} is signed by nobody: the question names the keys of those who may answer, and \
         only an answer that one of them signed counts"
    )
}
