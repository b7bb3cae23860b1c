//! What this program stated of an object, read back from the cluster. A change of one field states
//! the others again as they are: the files may say something else by now, and pods are not to be
//! replaced for that. So they are read as the cluster has them: a newer one has fields that no type
//! of this program knows.

use code_deploy_engine::target::TargetError;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt as _;
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Map, Value, json};

use super::manifest::Manifest;
use super::objects::MANAGER;
use crate::failure::{code, failed};

/// Returns how Deployments are asked for with all of their fields.
pub fn whole() -> ApiResource {
    ApiResource::erase::<Deployment>(&())
}

/// Returns how many pods a Deployment is asked for.
pub fn replicas(deployment: &DynamicObject) -> u32 {
    let replicas = deployment.data.pointer("/spec/replicas");
    let replicas = replicas.map_or(Some(1), Value::as_u64);
    replicas.map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// Returns what makes a Deployment have another number of pods and nothing else different.
///
/// # Errors
/// `CD0533` when the cluster does not say what this program stated of it.
pub fn with_replicas(
    service: &str,
    deployment: &DynamicObject,
    replicas: u32,
) -> Result<Manifest, TargetError> {
    let name = deployment.name_any();
    stated(deployment, &name, replicas)
        .map(|value| Manifest {
            name: name.clone(),
            text: String::new(),
            value,
        })
        .ok_or_else(|| {
            let what = format!(
                "the deployment {name} does not say which of its fields this program manages; its \
                 number of pods was not changed"
            );
            let next = "Look who took that away (`kubectl get --show-managed-fields`), stop this \
                        release and deploy it again.";
            failed(code::CONFLICT, Some(service), what, next)
        })
}

fn stated(deployment: &DynamicObject, name: &str, replicas: u32) -> Option<Value> {
    let entries = deployment.metadata.managed_fields.as_ref()?;
    let fields = &entries
        .iter()
        .find(|one| is_own(one))?
        .fields_v1
        .as_ref()?
        .0;
    let mut value = part(&serde_json::to_value(deployment).ok()?, fields);
    let stated = value.as_object_mut()?;
    stated.insert("apiVersion".to_owned(), "apps/v1".into());
    stated.insert("kind".to_owned(), "Deployment".into());
    let metadata = stated.entry("metadata").or_insert_with(|| json!({}));
    metadata
        .as_object_mut()?
        .insert("name".to_owned(), name.into());
    let spec = stated.get_mut("spec")?.as_object_mut()?;
    spec.insert("replicas".to_owned(), replicas.into());
    Some(value)
}

fn is_own(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.is_none()
}

/// Returns the part of a value that a set of fields names (`f:` a key, `k:` an item by its keys,
/// `v:` an item by its value); a set that names none is all of it. Items keep their order: another
/// one would be another pod.
fn part(value: &Value, fields: &Value) -> Value {
    let named = fields.as_object().into_iter().flatten();
    let named: Vec<(&String, &Value)> = named.filter(|(key, _)| *key != ".").collect();
    match value {
        _ if named.is_empty() => value.clone(),
        Value::Object(keys) => named
            .into_iter()
            .filter_map(|(key, below)| {
                let key = key.strip_prefix("f:")?;
                Some((key.to_owned(), part(keys.get(key)?, below)))
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items
            .iter()
            .filter_map(|item| {
                let mut named = named.iter();
                let (_, below) = named.find(|(key, _)| is_item(item, key))?;
                Some(part(item, below))
            })
            .collect(),
        other => other.clone(),
    }
}

fn is_item(item: &Value, named: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    if let Some(Value::Object(keys)) = named.strip_prefix("k:").and_then(read) {
        return keys.iter().all(|(key, value)| item.get(key) == Some(value));
    }
    named.strip_prefix("v:").and_then(read).as_ref() == Some(item)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn deployment() -> DynamicObject {
        let own = json!({
            "f:metadata": { "f:labels": { "f:app": {} } },
            "f:spec": {
                "f:replicas": {},
                "f:template": { "f:spec": { "f:ofTomorrow": {}, "f:containers": { "k:{\"name\":\"api\"}": {
                    ".": {}, "f:name": {}, "f:image": {}, "f:resources": {},
                    "f:env": {
                        "k:{\"name\":\"A\"}": { ".": {}, "f:name": {}, "f:value": {} },
                        "k:{\"name\":\"Z\"}": { ".": {}, "f:name": {}, "f:value": {} },
                    },
                    "f:args": {},
                } } } },
            },
        });
        let theirs = json!({ "f:metadata": { "f:annotations": { "f:theirs": {} } } });
        let entry = |manager: &str, operation: &str, fields: &Value| json!({ "manager": manager, "operation": operation, "fieldsV1": fields });
        serde_json::from_value(json!({
            "metadata": {
                "name": "api-1-0-0", "uid": "u", "resourceVersion": "7",
                "labels": { "app": "api" }, "annotations": { "theirs": "1" },
                "managedFields": [
                    entry("code-deploy", "Update", &theirs), entry("code-deploy", "Apply", &own),
                ],
            },
            "spec": {
                "replicas": 4, "revisionHistoryLimit": 10, "selector": {},
                "template": { "spec": { "restartPolicy": "Always", "ofTomorrow": [7], "containers": [{
                    "name": "api", "image": "api:1", "imagePullPolicy": "Always",
                    "resources": { "limits": { "cpu": "1" } }, "args": ["b", "a"],
                    "env": [{ "name": "Z", "value": "1" }, { "name": "A", "value": "2" }],
                }] } },
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_was_stated_is_stated_again_in_its_order_and_nothing_else() {
        let manifest = with_replicas("api", &deployment(), 2).unwrap();
        let expected = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "api-1-0-0", "labels": { "app": "api" } },
            "spec": { "replicas": 2, "template": { "spec": { "ofTomorrow": [7], "containers": [{
                "name": "api", "image": "api:1", "args": ["b", "a"],
                "resources": { "limits": { "cpu": "1" } },
                "env": [{ "name": "Z", "value": "1" }, { "name": "A", "value": "2" }],
            }] } } },
        });
        assert_eq!(manifest.value, expected);
    }

    #[test]
    fn a_deployment_is_asked_for_one_pod_where_it_does_not_say() {
        let of = |spec: Value| {
            let deployment = json!({ "metadata": { "name": "api" }, "spec": spec });
            replicas(&serde_json::from_value(deployment).unwrap())
        };
        assert_eq!(of(json!({ "replicas": 4 })), 4);
        assert_eq!(of(json!({ "replicas": 0 })), 0);
        assert_eq!(of(json!({})), 1);
    }

    #[test]
    fn what_nobody_is_known_to_have_stated_is_not_changed() {
        let mut unknown = deployment();
        unknown.metadata.managed_fields = None;
        let refused = with_replicas("api", &unknown, 2).unwrap_err();
        assert_eq!(refused.code, code::CONFLICT);
    }
}
