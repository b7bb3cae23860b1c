//! What became of a catalogue item.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::{Basis, Digest};

/// How a run settled one item of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The item holds, and there is evidence of at least the kind the catalogue asks for.
    Met {
        /// How it is known.
        basis: Basis,
    },
    /// The item was looked at and does not hold.
    Failed,
    /// The item cannot apply, which follows from a fact of the inventory.
    NotApplicable {
        /// The inventory fact: `no cache in the inventory`.
        fact: String,
    },
    /// A named person accepts that the item does not hold.
    Waived {
        /// Who.
        by: String,
        /// The day after which the waiver no longer counts.
        expires: NaiveDate,
    },
    /// The program cannot establish the item.
    Open,
}

impl Verdict {
    /// Returns the one word that every face uses for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Met { .. } => "met",
            Self::Failed => "failed",
            Self::NotApplicable { .. } => "not applicable",
            Self::Waived { .. } => "waived",
            Self::Open => "open",
        }
    }
}

/// Where the evidence for a verdict stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceRef {
    /// An event of the same journal, by sequence number.
    Event(u64),
    /// A file of the evidence folder.
    File(Digest),
}
