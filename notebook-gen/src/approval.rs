//! Answers to approvals, with who stands for them.

use std::collections::BTreeMap;

use code_deploy_record::{Consent, Digest, Event, EventBody, PublicKey, RunId, SignedConsent};

/// An answer to an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// What was to be approved.
    pub gate: String,
    /// The plan's digest as the person saw it.
    pub plan: Digest,
    /// Who.
    pub by: String,
    /// Whether it is a go.
    pub go: bool,
    /// Why.
    pub reason: String,
    /// Whether the policy wanted another person than the one who runs the deployment.
    pub two_persons: bool,
    /// Whether the deployment file names keys, so that only signed answers count.
    pub must_be_signed: bool,
    /// What was signed and by which key, or why the signature does not hold; nothing where nobody signed.
    pub signature: Option<Result<(Consent, PublicKey), String>>,
}

/// What the journal has said of approvals that are not answered yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    two_persons: BTreeMap<String, bool>,
    signers: BTreeMap<String, BTreeMap<String, String>>,
    signed: Option<SignedConsent>,
}

impl Answers {
    /// Takes note of an event; returns the answer where it is one. `of` is the run with its plan.
    pub(crate) fn note(
        &mut self,
        event: &Event,
        of: (Option<&RunId>, Option<&Digest>),
    ) -> Option<Approval> {
        match &event.body {
            EventBody::ApprovalAsked {
                gate,
                two_persons,
                signers,
                ..
            } => {
                self.two_persons.insert(gate.clone(), *two_persons);
                self.signers.insert(gate.clone(), signers.clone());
                self.signed = None;
                None
            }
            EventBody::ConsentSigned(signed) => {
                self.signed = Some(signed.clone());
                None
            }
            EventBody::ApprovalGiven {
                gate,
                plan: seen,
                by,
                go,
                reason,
            } => {
                let signers = self.signers.get(gate).cloned().unwrap_or_default();
                let signed = self.signed.take();
                Some(Approval {
                    gate: gate.clone(),
                    plan: *seen,
                    by: by.clone(),
                    go: *go,
                    reason: reason.clone(),
                    two_persons: self.two_persons.get(gate).copied().unwrap_or(false),
                    must_be_signed: !signers.is_empty(),
                    signature: signed.map(|signed| signed.of_answer(event, of, &signers)),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_record::{APPROVED, SealKey};

    use super::*;

    fn event(body: EventBody) -> Event {
        Event {
            seq: 7,
            time: "2026-11-23T14:00:00Z".parse().unwrap(),
            actor: "person:ben".to_owned(),
            prev: Digest::ZERO,
            body,
        }
    }

    fn asked(signers: BTreeMap<String, String>) -> Event {
        event(EventBody::ApprovalAsked {
            gate: "go/no-go".to_owned(),
            plan: Digest::of(b"plan"),
            summary: "1.1.0 to prod?".to_owned(),
            two_persons: true,
            signers,
        })
    }

    fn given() -> Event {
        event(EventBody::ApprovalGiven {
            gate: "go/no-go".to_owned(),
            plan: Digest::of(b"plan"),
            by: "ben".to_owned(),
            go: true,
            reason: "looked at it".to_owned(),
        })
    }

    fn signed(key: &SealKey, reason: &str) -> Event {
        let consent = Consent {
            run: "run-1".parse().unwrap(),
            gate: "go/no-go".to_owned(),
            plan: Digest::of(b"plan"),
            go: true,
            by: "ben".to_owned(),
            reason: reason.to_owned(),
            signed: "2026-11-23T13:00:00Z".parse().unwrap(),
            expires: "2026-11-24T13:00:00Z".parse().unwrap(),
            waivers: Vec::new(),
        };
        let statement = serde_json::to_string(&consent).unwrap();
        let signature = key.sign_ssh(APPROVED, statement.as_bytes()).unwrap();
        event(EventBody::ConsentSigned(SignedConsent {
            statement,
            signature,
        }))
    }

    fn noted(events: &[Event]) -> Approval {
        let mut answers = Answers::default();
        let plan = Digest::of(b"plan");
        let run = "run-1".parse().unwrap();
        let of = (Some(&run), Some(&plan));
        let notes = events.iter().map(|event| answers.note(event, of));
        let all: Vec<_> = notes.collect();
        all.into_iter().flatten().next().unwrap()
    }

    #[test]
    fn a_signature_counts_where_it_is_over_this_answer_by_the_key_that_is_named() {
        let key = SealKey::from_seed(&[4; 32]).unwrap();
        let public = key.public().ed25519();
        let named = |key: &PublicKey| {
            let line = key.to_openssh().unwrap();
            asked(BTreeMap::from([("ben".to_owned(), line)]))
        };
        let approval = noted(&[named(&public), signed(&key, "looked at it"), given()]);
        assert!(approval.two_persons && approval.must_be_signed);
        let (consent, by) = approval.signature.unwrap().unwrap();
        assert_eq!((consent.by.as_str(), by), ("ben", public.clone()));

        let other = noted(&[named(&public), signed(&key, "another reason"), given()]);
        let why = other.signature.unwrap().unwrap_err();
        assert!(why.contains("who, what or why are others"), "{why}");

        let stranger = SealKey::from_seed(&[5; 32]).unwrap();
        let strange = noted(&[named(&public), signed(&stranger, "looked at it"), given()]);
        let why = strange.signature.unwrap().unwrap_err();
        assert!(why.contains("is not signed with the key"), "{why}");
    }

    #[test]
    fn an_answer_without_a_signature_has_none_and_one_that_was_asked_anew_loses_it() {
        let plain = noted(&[asked(BTreeMap::new()), given()]);
        assert_eq!((plain.signature, plain.must_be_signed), (None, false));
        let key = SealKey::from_seed(&[4; 32]).unwrap();
        let anew = [
            signed(&key, "looked at it"),
            asked(BTreeMap::new()),
            given(),
        ];
        assert_eq!(noted(&anew).signature, None);
    }
}
