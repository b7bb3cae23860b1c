//! The deployment file as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::database::DatabaseFile;
use super::environment::EnvironmentFile;
use super::load::{LoadProfile, Objective};
use super::operation::{
    Approvals, Attestation, Contact, EscalationStep, KnownIssue, MaintenanceWindow, Monitoring,
    Seal, Security, Waiver,
};
use super::service::ServiceFile;
use super::strategy::Strategy;

/// A deployment file, `deploy.yaml`, as written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct DeployFile {
    /// The application's name: lower-case letters, digits and `-`.
    pub application: String,
    /// The release to deploy when the command line names none.
    #[serde(default)]
    pub release: Option<String>,
    /// The releases that there are; any release may be asked for when none is listed.
    #[serde(default)]
    pub releases: Vec<String>,
    /// The Compose file that names the services, relative to this file.
    #[serde(default = "default_compose")]
    pub compose: PathBuf,
    /// What the Compose file cannot say of each service.
    #[serde(default, deserialize_with = "maybe_nothing")]
    #[schemars(with = "BTreeMap<String, Option<ServiceFile>>")]
    pub services: BTreeMap<String, ServiceFile>,
    /// The rollout strategy of all environments that name none.
    #[serde(default)]
    pub strategy: Strategy,
    /// The environments by name.
    #[serde(deserialize_with = "maybe_nothing")]
    #[schemars(with = "BTreeMap<String, Option<EnvironmentFile>>")]
    pub environments: BTreeMap<String, EnvironmentFile>,
    /// The databases by name.
    #[serde(default)]
    pub databases: BTreeMap<String, DatabaseFile>,
    /// What the application promises.
    #[serde(default)]
    pub objectives: Vec<Objective>,
    /// Files of user journeys, relative to this file.
    #[serde(default)]
    pub journeys: Vec<PathBuf>,
    /// The outside client that measures the run from before the first change to after the last.
    #[serde(default)]
    pub client: Option<LoadProfile>,
    /// The load test of the validation.
    #[serde(default)]
    pub load: Option<LoadProfile>,
    /// Metrics, logs and traces.
    #[serde(default)]
    pub monitoring: Monitoring,
    /// The rules of the source policy and of security.
    #[serde(default)]
    pub security: Security,
    /// The key that seals records.
    #[serde(default)]
    pub seal: Seal,
    /// Who may approve.
    #[serde(default)]
    pub approvals: Approvals,
    /// People to turn to.
    #[serde(default)]
    pub contacts: Vec<Contact>,
    /// Who is called when, in order.
    #[serde(default)]
    pub escalation: Vec<EscalationStep>,
    /// When maintenance may be done.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceWindow>,
    /// What is known not to work.
    #[serde(default)]
    pub known_issues: Vec<KnownIssue>,
    /// What a named person vouches for.
    #[serde(default)]
    pub attestations: Vec<Attestation>,
    /// Items that a named person accepts not to hold.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
}

fn default_compose() -> PathBuf {
    PathBuf::from("compose.yaml")
}

/// Reads a name with nothing behind it (`test:`) as one with nothing set.
fn maybe_nothing<'de, T, D>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    T: Deserialize<'de> + Default,
    D: serde::Deserializer<'de>,
{
    let found = BTreeMap::<String, Option<T>>::deserialize(deserializer)?;
    Ok(found
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect())
}
