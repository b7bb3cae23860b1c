//! What a person signs who approves a plan: an OpenSSH signature over a statement that names the plan
//! by its digest, and with it the waivers that this person accepts.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, Event, EventBody, ItemId, PublicKey, Result, RunId, SshSignature};

/// The namespace of an approval's signature: `ssh-keygen -Y sign -n`.
pub const APPROVED: &str = "code-deploy-approval";

/// What is signed: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// The run.
    pub run: RunId,
    /// What is approved: `go/no-go`.
    pub gate: String,
    /// The plan's digest.
    pub plan: Digest,
    /// Whether it is a go.
    pub go: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it was signed.
    pub signed: DateTime<Utc>,
    /// The moment from which it no longer counts.
    pub expires: DateTime<Utc>,
    /// The items that are accepted not to hold.
    pub waivers: Vec<ConsentWaiver>,
}

/// An item that is accepted not to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentWaiver {
    /// Which.
    pub item: ItemId,
    /// Who accepts it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The day after which it no longer counts.
    pub expires: NaiveDate,
}

/// A statement with its signature, as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedConsent {
    /// The very text that was signed.
    pub statement: String,
    /// The armoured signature (`BEGIN SSH SIGNATURE`).
    pub signature: String,
}

impl SignedConsent {
    /// Returns what was signed and the key that signed it.
    ///
    /// # Errors
    /// [`Error::BadSignature`] when the signature is not one over the statement, or the statement is
    /// none; [`Error::BadKey`] when the key is of a type that is not known.
    pub fn read(&self) -> Result<(Consent, PublicKey)> {
        let signature = SshSignature::parse(&self.signature)?;
        let key = signature.key()?;
        let wrong = |what: String| Error::BadSignature { what };
        if !signature.verifies(APPROVED, self.statement.as_bytes()) {
            return Err(wrong("it is not over the statement beside it".to_owned()));
        }
        let consent = serde_json::from_str(&self.statement)
            .map_err(|error| wrong(format!("what it is over is no statement: {error}")))?;
        Ok((consent, key))
    }

    /// Returns what was signed and the key that signed it, where that is this very answer to an approval: `answer` is
    /// the event of it, `of` the run with its plan, and `signers` names the keys that alone count, by person, where it
    /// names any.
    ///
    /// # Errors
    /// Why the signature does not stand for the answer, in words.
    pub fn of_answer(
        &self,
        answer: &Event,
        of: (Option<&RunId>, Option<&Digest>),
        signers: &BTreeMap<String, String>,
    ) -> std::result::Result<(Consent, PublicKey), String> {
        let (consent, key) = self
            .read()
            .map_err(|error| format!("the approval's signature does not hold: {error}"))?;
        if let Some(what) = consent.unlike(answer, of) {
            return Err(format!("what was signed is not this approval: {what}"));
        }
        let named = signers.get(&consent.by);
        let named = named.and_then(|text| PublicKey::parse(text).ok());
        if !signers.is_empty() && named.as_ref() != Some(&key) {
            return Err(format!(
                "{} is not signed with the key that is known as theirs",
                consent.by
            ));
        }
        Ok((consent, key))
    }
}

impl Consent {
    /// Says in what an answer to an approval is another one than was signed; nothing where it is the same.
    fn unlike(
        &self,
        answer: &Event,
        (run, run_plan): (Option<&RunId>, Option<&Digest>),
    ) -> Option<String> {
        let EventBody::ApprovalGiven {
            gate,
            plan,
            by,
            go,
            reason,
        } = &answer.body
        else {
            return Some("it is no answer to an approval".to_owned());
        };
        if run != Some(&self.run) {
            return Some(format!("it is for run {}", self.run));
        }
        if run_plan != Some(&self.plan) || *plan != self.plan {
            return Some(format!("it is over plan {}", self.plan.short()));
        }
        if answer.time < self.signed || answer.time >= self.expires {
            let (from, to) = (self.signed, self.expires);
            return Some(format!(
                "it counts from {from} to {to}, and was used at {}",
                answer.time
            ));
        }
        let same = (&self.gate, &self.by, &self.go, &self.reason) == (gate, by, go, reason);
        (!same).then(|| "who, what or why are others".to_owned())
    }
}
