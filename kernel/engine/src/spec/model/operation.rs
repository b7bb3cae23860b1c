//! Monitoring, security and people.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::NaiveDate;
use code_deploy_record::ItemId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::service::SecretRef;
use crate::duration::Span;

/// Metrics, logs and traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Monitoring {
    /// The time between two scrapes in the generated Prometheus configuration.
    pub scrape_interval: Span,
    /// How long logs are kept.
    pub log_retention: Span,
    /// The share of requests that is traced, in percent.
    pub trace_sampling: f64,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            scrape_interval: Span::from_secs(15),
            log_retention: Span::from_secs(14 * 86_400),
            trace_sampling: 100.0,
        }
    }
}

/// The rules of the source policy and of security.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Rules of the source policy that are switched off, by name.
    pub rules_off: Vec<String>,
    /// The folder whose source is deployed, relative to this file; the file's folder when not
    /// given.
    pub source: Option<PathBuf>,
    /// The branch from which work starts.
    pub development_branch: Option<String>,
}

/// The key that seals records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Seal {
    /// Where it is: an Ed25519 key in PKCS#8 (PEM) or an OpenSSH key of type ed25519. A file that is
    /// not there yet is made. Each user's own key where nothing is said.
    pub key: Option<SecretRef>,
}

/// Who may approve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Approvals {
    /// The names of those who may; anybody when empty.
    pub by: Vec<String>,
    /// Their public keys by name, as OpenSSH writes them. Where any is named, only an answer that one
    /// of these keys signed counts.
    pub signers: BTreeMap<String, String>,
}

/// A person or team to turn to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// The name.
    pub name: String,
    /// What they answer for.
    pub role: String,
    /// How they are reached.
    pub reach: String,
    /// The services they answer for; all when empty.
    #[serde(default)]
    pub services: Vec<String>,
}

/// Who is called when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalationStep {
    /// The time after the alert.
    pub after: Span,
    /// Who is called: the name of a contact.
    pub contact: String,
}

/// When maintenance may be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceWindow {
    /// When, in words: `Sundays 02:00-04:00 UTC`.
    pub when: String,
    /// What for.
    pub purpose: String,
}

/// Something that is known not to work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownIssue {
    /// What.
    pub title: String,
    /// Whom it affects.
    #[serde(default)]
    pub impact: String,
    /// What to do about it meanwhile.
    #[serde(default)]
    pub workaround: String,
    /// Where it is tracked.
    #[serde(default)]
    pub reference: String,
}

/// What a named person vouches for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The item.
    pub item: ItemId,
    /// Who.
    pub by: String,
    /// When.
    #[schemars(with = "String")]
    pub date: NaiveDate,
    /// Where the proof is: a URL or a file's digest.
    pub proof: String,
    /// What they vouch for, in words.
    pub statement: String,
}

/// An item that a named person accepts not to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// The item.
    pub item: ItemId,
    /// Who accepts it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The day after which it no longer counts.
    #[schemars(with = "String")]
    pub expires: NaiveDate,
    /// Who approved it, where the policy asks for an approver.
    #[serde(default)]
    pub approver: Option<String>,
}
