//! What a person signs who approves a plan: an OpenSSH signature over a statement that names the plan
//! by its digest, and with it the waivers that this person accepts.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, ItemId, PublicKey, Result, RunId, SshSignature};

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
}
