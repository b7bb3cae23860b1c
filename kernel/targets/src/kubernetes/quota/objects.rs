//! Objects that a quota counts: each is taken by itself when it is tried out, and all of them have to fit together.

use code_deploy_engine::target::TargetError;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::core::ApiResource;
use serde_json::Value;

use super::room::{Short, is_more, lacking};
use crate::failure::{code, failed};
use crate::kubernetes::KubernetesTarget;
use crate::kubernetes::capacity::amount;
use crate::kubernetes::cluster::{Connection, try_side_by_side};
use crate::kubernetes::manifest::Manifest;
use crate::kubernetes::meaning::CLAIM;
use crate::kubernetes::refusal::LARGER_QUOTA;

/// How a quota names what is of one class of storage: `fast.storageclass.storage.k8s.io/requests.storage`.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

/// An object that a run states, which quotas count.
pub struct Counted<'a> {
    pub resource: ApiResource,
    pub manifest: &'a Manifest,
}

/// An object that is not there yet.
#[derive(Debug, Clone, PartialEq)]
struct Added {
    /// As quotas call it: `services`, `deployments.apps`.
    resource: String,
    /// Whether the cluster judges it by itself when it is tried out.
    is_tried: bool,
    /// How much storage it claims, in bytes, and of which class.
    storage: f64,
    class: Option<String>,
}

impl KubernetesTarget {
    /// Returns why quotas of the namespace would not take all objects of a run together.
    ///
    /// Ports and load balancers of Services that manifests bring are not summed up.
    ///
    /// # Errors
    /// What the cluster says.
    pub(super) async fn refused_together(
        &self,
        connection: &Connection,
        quotas: &[ResourceQuota],
        stated: &[Counted<'_>],
    ) -> Result<Option<TargetError>, TargetError> {
        let whole = quotas.iter().filter(|quota| is_of_all(quota));
        let quotas: Vec<&ResourceQuota> = whole.collect();
        if quotas.is_empty() {
            return Ok(None);
        }
        let looks: Vec<_> = stated
            .iter()
            .map(|one| async move {
                let objects = connection.described(&one.resource);
                let found = objects.ours(&self.names, None, &one.manifest.name).await;
                match found {
                    Ok(None) => Ok(true),
                    Ok(Some(_)) => Ok(false),
                    // That the name is taken is told already.
                    Err(error) if error.code == code::FOREIGN => Ok(false),
                    Err(error) => Err(error),
                }
            })
            .collect();
        let mut added = Vec::new();
        for (one, is_new) in stated.iter().zip(try_side_by_side(looks).await?) {
            if is_new {
                added.extend(Added::of(one));
            }
        }
        Ok(too_many(&quotas, &added))
    }
}

impl Added {
    /// Returns what a quota counts of an object: a Deployment has a set of pods made, too.
    fn of(stated: &Counted<'_>) -> Vec<Self> {
        let (resource, value) = (&stated.resource, &stated.manifest.value);
        let is_claim = resource.group.is_empty() && resource.kind == CLAIM;
        let claimed = value.pointer("/spec/resources/requests/storage");
        let claimed = claimed.filter(|_| is_claim).map(quantity);
        let class = value.pointer("/spec/storageClassName");
        let class = class.filter(|_| is_claim).and_then(Value::as_str);
        let own = Self {
            resource: called(resource),
            is_tried: true,
            storage: claimed.unwrap_or(0.0),
            class: class.map(str::to_owned),
        };
        let mut all = vec![own];
        if resource.kind == "Deployment" {
            all.push(Self {
                resource: "replicasets.apps".to_owned(),
                is_tried: false,
                storage: 0.0,
                class: None,
            });
        }
        all
    }

    /// Returns how much it is of what a quota counts.
    fn each(&self, what: &str) -> f64 {
        let (what, is_of_class) = match what.split_once(OF_CLASS) {
            None => (what, true),
            Some((class, what)) => (what, self.class.as_deref() == Some(class)),
        };
        let counted = what.strip_prefix("count/").unwrap_or(what);
        match counted {
            _ if !is_of_class => 0.0,
            "requests.storage" => self.storage,
            counted if counted == self.resource => 1.0,
            _ => 0.0,
        }
    }
}

/// Returns an amount of a manifest, which may be a bare number there.
fn quantity(value: &Value) -> f64 {
    match value {
        Value::String(text) => amount(&Quantity(text.clone())),
        other => other.as_f64().unwrap_or(0.0),
    }
}

fn called(resource: &ApiResource) -> String {
    match resource.group.as_str() {
        "" => resource.plural.clone(),
        group => format!("{}.{group}", resource.plural),
    }
}

/// A quota that is of some pods only counts no objects.
fn is_of_all(quota: &ResourceQuota) -> bool {
    let spec = quota.spec.as_ref();
    spec.is_none_or(|spec| {
        let scopes = spec.scopes.as_ref();
        scopes.is_none_or(Vec::is_empty) && spec.scope_selector.is_none()
    })
}

/// Returns what quotas lack for all objects together. Where one alone is too much, the cluster has said so of that one.
fn too_many(quotas: &[&ResourceQuota], added: &[Added]) -> Option<TargetError> {
    let of_quota = |quota: &&ResourceQuota| {
        let needed = |what: &str| added.iter().map(|one| one.each(what)).sum::<f64>();
        let mut short = lacking(quota, needed);
        short.retain(|one| {
            let mut tried = added.iter().filter(|added| added.is_tried);
            !tried.any(|added| is_more(added.each(&one.what), one.left))
        });
        short
    };
    let short: Vec<Short> = quotas.iter().flat_map(of_quota).collect();
    if short.is_empty() {
        return None;
    }
    let texts: Vec<String> = short.iter().map(ToString::to_string).collect();
    let what = format!(
        "the namespace has no room for all objects of this run together: {}; nothing was changed",
        texts.join("; ")
    );
    Some(failed(code::QUOTA, None, what, LARGER_QUOTA))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
    use serde_json::json;

    use super::*;

    fn added(resource: ApiResource, spec: Value) -> Vec<Added> {
        let manifest = Manifest {
            name: "api".to_owned(),
            text: String::new(),
            value: json!({ "spec": spec }),
        };
        Added::of(&Counted {
            resource,
            manifest: &manifest,
        })
    }

    fn deployments(number: usize) -> Vec<Added> {
        let one = |_| added(ApiResource::erase::<Deployment>(&()), json!({}));
        (0..number).flat_map(one).collect()
    }

    fn quota(what: &str, hard: &str, used: &str, scopes: Value) -> ResourceQuota {
        let (hard, used) = (json!({ what: hard }), json!({ what: used }));
        serde_json::from_value(json!({
            "metadata": { "name": "few" }, "spec": { "hard": hard, "scopes": scopes },
            "status": { "hard": hard, "used": used },
        }))
        .unwrap()
    }

    #[test]
    fn objects_that_fit_one_by_one_are_summed_up() {
        let quota = |used: &str| quota("count/deployments.apps", "3", used, json!([]));
        assert!(too_many(&[&quota("1")], &deployments(2)).is_none());
        let error = too_many(&[&quota("2")], &deployments(2)).unwrap();
        assert_eq!(error.code, code::QUOTA);
        let words =
            "the quota few allows 3 of count/deployments.apps, 2 are used, and 2 more are needed";
        assert!(error.what.contains(words), "{}", error.what);
        // What is too much by itself, the cluster has said of each.
        assert!(too_many(&[&quota("3")], &deployments(2)).is_none());
    }

    #[test]
    fn what_a_deployment_has_made_counts_too() {
        let sets = quota("count/replicasets.apps", "1", "1", json!([]));
        let error = too_many(&[&sets], &deployments(1)).unwrap();
        assert!(error.what.contains("1 more are needed"), "{}", error.what);
    }

    #[test]
    fn claims_are_summed_up_by_what_they_claim_and_of_which_class() {
        let claim = |class: &str| {
            let asked = json!({ "requests": { "storage": "2Gi" } });
            let resource = ApiResource::erase::<PersistentVolumeClaim>(&());
            added(
                resource,
                json!({ "storageClassName": class, "resources": asked }),
            )
        };
        let all: Vec<Added> = [claim("fast"), claim("fast"), claim("slow")].concat();
        let lacks = |what: &str, hard: &str| {
            let quota = quota(what, hard, "0", json!([]));
            too_many(&[&quota], &all).is_some()
        };
        assert!(lacks("requests.storage", "5Gi"));
        assert!(!lacks("requests.storage", "6Gi"));
        assert!(lacks("persistentvolumeclaims", "2"));
        assert!(lacks(
            "fast.storageclass.storage.k8s.io/requests.storage",
            "3Gi"
        ));
        assert!(!lacks(
            "fast.storageclass.storage.k8s.io/requests.storage",
            "4Gi"
        ));
        assert!(lacks(
            "fast.storageclass.storage.k8s.io/persistentvolumeclaims",
            "1"
        ));
        assert!(!lacks(
            "other.storageclass.storage.k8s.io/persistentvolumeclaims",
            "0"
        ));
    }

    #[test]
    fn a_quota_of_some_pods_or_of_other_objects_counts_none() {
        let services = |scopes: Value| quota("services", "1", "0", scopes);
        assert!(is_of_all(&services(json!([]))));
        assert!(!is_of_all(&services(json!(["BestEffort"]))));
        let service = || added(ApiResource::erase::<Service>(&()), json!({}));
        let two = [service(), service()].concat();
        assert!(too_many(&[&services(json!([]))], &two).is_some());
        assert!(too_many(&[&services(json!([]))], &deployments(2)).is_none());
    }
}
