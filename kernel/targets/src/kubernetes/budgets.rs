//! Budgets of disruptions: of the pods that one selects, so many have to stay when one is taken away by name
//! (<https://kubernetes.io/docs/tasks/run-application/configure-pdb/>).
//!
//! A Deployment that is removed as a whole, or asked for fewer pods, is governed by none. The waves of a rolling update
//! are: they take pods away by name, by evicting them (`evicting.rs`).

mod waves;

use std::fmt;

use code_deploy_engine::spec::UserManifest;
use code_deploy_engine::target::TargetError;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Selector, SelectorExt as _};
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use super::cluster::Connection;
use super::names::Labels;
use super::served::{self, Read};
pub use waves::finding;

/// The kind of a budget.
pub const KIND: &str = "PodDisruptionBudget";
/// What budgets are called in paths.
pub const PLURAL: &str = "poddisruptionbudgets";
/// The group of their API.
pub const GROUP: &str = "policy";
/// Their API, in the versions that this program knows.
const READ: Read = (GROUP, &["v1", "v1beta1"]);

/// A budget.
#[derive(Debug, Clone)]
pub struct Budget {
    pub name: String,
    /// The pods that it is of; nothing where it is of none.
    selector: Option<Selector>,
    keeps: Keeps,
    /// Whether the cluster would let one of them go now.
    pub lets_one_go: bool,
}

/// What a budget keeps of its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    AtLeast(Amount),
    AllBut(Amount),
    /// It says neither, and the cluster lets none go.
    All,
}

/// Some of all pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Pods(u32),
    Percent(u32),
}

/// The budgets of the namespace.
pub struct There {
    /// As they are asked for.
    pub all: Api<DynamicObject>,
    /// The version of their API.
    pub version: &'static str,
    pub budgets: Vec<Budget>,
}

/// Lists the budgets of the namespace, by the newest version of their API that the cluster has; nothing where it has
/// none that is known.
///
/// # Errors
/// What the cluster says.
pub async fn there(connection: &Connection) -> Result<Option<There>, TargetError> {
    let Some(version) = served::newest(connection, READ, PLURAL).await? else {
        return Ok(None);
    };
    let gvk = GroupVersionKind::gvk(GROUP, version, KIND);
    let objects = connection.described(&ApiResource::from_gvk_with_plural(&gvk, PLURAL));
    let all = objects.all().clone();
    let params = ListParams::default();
    let list = || all.list(&params);
    let listed = connection
        .ask(&format!("list {PLURAL}"), None, list)
        .await?;
    let budgets = listed
        .items
        .iter()
        .map(|one| Budget::of(one, version))
        .collect();
    Ok(Some(There {
        all,
        version,
        budgets,
    }))
}

impl Budget {
    /// Returns a budget of the cluster, by that version of its API.
    pub fn of(object: &DynamicObject, version: &str) -> Self {
        let number = |place: &str| object.data.pointer(place).and_then(Value::as_i64);
        let generation = object.metadata.generation.unwrap_or_default();
        let counted = number("/status/observedGeneration").unwrap_or_default() >= generation;
        let allowed = number("/status/disruptionsAllowed").unwrap_or_default();
        Self {
            lets_one_go: counted && allowed > 0,
            ..Self::stated(&object.name_any(), version, &object.data)
        }
    }

    /// Returns a budget as a manifest of the user states it.
    pub fn brought(manifest: &UserManifest) -> Self {
        Self::stated(&manifest.name, &manifest.api_version, &manifest.value)
    }

    fn stated(name: &str, version: &str, value: &Value) -> Self {
        Self {
            name: name.to_owned(),
            selector: selector(version, value),
            keeps: Keeps::of(value),
            lets_one_go: false,
        }
    }

    /// Returns whether it is of pods with those labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        let selector = self.selector.as_ref();
        selector.is_some_and(|selector| selector.matches(labels))
    }

    /// Returns how many of so many pods have to stay ready.
    fn stay(&self, pods: u32) -> u32 {
        match self.keeps {
            Keeps::AtLeast(least) => least.of_all(pods),
            Keeps::AllBut(most) => pods.saturating_sub(most.of_all(pods)),
            Keeps::All => pods,
        }
    }
}

/// Returns the labels of the pods of a Deployment.
pub fn labels_of_pods(deployment: &Deployment) -> Labels {
    let spec = deployment.spec.as_ref();
    let metadata = spec.and_then(|spec| spec.template.metadata.as_ref());
    let labels = metadata.and_then(|metadata| metadata.labels.clone());
    labels.unwrap_or_default()
}

/// Selectors are read as the cluster reads them: one that names nothing selects all pods, but none in the API's first
/// version.
fn selector(version: &str, value: &Value) -> Option<Selector> {
    let said = value.pointer("/spec/selector")?.clone();
    let said: LabelSelector = serde_json::from_value(said).ok()?;
    let selector = Selector::try_from(said).ok()?;
    let of_none = version.ends_with("v1beta1") && selector.selects_all();
    (!of_none).then_some(selector)
}

impl Keeps {
    fn of(value: &Value) -> Self {
        let amount = |place: &str| value.pointer(place).and_then(Amount::of);
        match (amount("/spec/minAvailable"), amount("/spec/maxUnavailable")) {
            (Some(least), _) => Self::AtLeast(least),
            (None, Some(most)) => Self::AllBut(most),
            (None, None) => Self::All,
        }
    }

    /// Returns the key that says it, or what stands beside it.
    fn key(self) -> &'static str {
        match self {
            Self::AtLeast(_) => "minAvailable",
            Self::AllBut(_) => "maxUnavailable",
            Self::All => "selector",
        }
    }
}

impl fmt::Display for Keeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "minAvailable {least}"),
            Self::AllBut(most) => write!(f, "maxUnavailable {most}"),
            Self::All => f.write_str("which says no number"),
        }
    }
}

impl Amount {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => {
                let number = u32::try_from(number.as_u64()?).ok()?;
                Some(Self::Pods(number))
            }
            Value::String(text) => text.strip_suffix('%')?.parse().ok().map(Self::Percent),
            _ => None,
        }
    }

    /// Returns how many of so many it is. The cluster rounds parts of a pod up.
    fn of_all(self, pods: u32) -> u32 {
        match self {
            Self::Pods(number) => number,
            Self::Percent(percent) => {
                let part = (u64::from(pods) * u64::from(percent)).div_ceil(100);
                u32::try_from(part).unwrap_or(u32::MAX)
            }
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(number) => write!(f, "{number}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn keeping(spec: Value) -> Budget {
        Budget::stated("api", "v1", &json!({ "spec": spec }))
    }

    #[test]
    fn numbers_and_parts_of_all_are_kept_as_the_cluster_counts_them() {
        let stay = |spec: Value, pods: u32| keeping(spec).stay(pods);
        assert_eq!(stay(json!({ "minAvailable": 2 }), 5), 2);
        assert_eq!(stay(json!({ "minAvailable": "50%" }), 5), 3);
        assert_eq!(stay(json!({ "minAvailable": "100%" }), 5), 5);
        assert_eq!(stay(json!({ "maxUnavailable": 2 }), 5), 3);
        assert_eq!(stay(json!({ "maxUnavailable": "25%" }), 5), 3);
        assert_eq!(stay(json!({ "maxUnavailable": 0 }), 5), 5);
        assert_eq!(stay(json!({ "maxUnavailable": 9 }), 5), 0);
        assert_eq!(stay(json!({}), 5), 5);
        assert_eq!(stay(json!({ "minAvailable": "many" }), 5), 5);
    }

    #[test]
    fn a_selector_that_names_nothing_is_of_all_pods_but_in_the_first_version() {
        let labels = Labels::from([("app".to_owned(), "api".to_owned())]);
        let selects = |version: &str, selector: Value| {
            let value = json!({ "spec": { "minAvailable": 1, "selector": selector } });
            Budget::stated("api", version, &value).selects(&labels)
        };
        let (own, others) = (json!({ "app": "api" }), json!({ "app": "web" }));
        for version in ["policy/v1", "policy/v1beta1"] {
            assert!(selects(version, json!({ "matchLabels": own })));
            assert!(!selects(version, json!({ "matchLabels": others })));
            assert!(!selects(version, Value::Null));
        }
        assert!(selects("policy/v1", json!({})));
        assert!(!selects("policy/v1beta1", json!({})));
    }

    #[test]
    fn whether_one_may_go_is_read_of_the_state_that_was_counted() {
        let lets = |generation: i64, allowed: i64| {
            let budget = json!({
                "metadata": { "name": "api", "generation": generation },
                "status": { "observedGeneration": 2, "disruptionsAllowed": allowed },
            });
            let budget: DynamicObject = serde_json::from_value(budget).unwrap();
            Budget::of(&budget, "v1").lets_one_go
        };
        assert!(lets(2, 1));
        assert!(!lets(2, 0));
        assert!(!lets(3, 1));
    }
}
