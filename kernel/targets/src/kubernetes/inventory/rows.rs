//! Objects of the cluster as rows. What an object does not say is left empty.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use serde_json::Value;

use crate::kubernetes::capacity::amount;

type Rows = Option<Vec<Vec<String>>>;

pub fn node(object: &DynamicObject) -> Rows {
    let memory = text(object, "/status/allocatable/memory");
    let bytes = amount(&Quantity(memory));
    let closed = at(object, "/spec/unschedulable") == Some(&Value::Bool(true));
    let ready = if is_ready(object) { "yes" } else { "no" };
    Some(vec![vec![
        object.name_any(),
        text(object, "/status/nodeInfo/kubeletVersion"),
        match closed {
            true => format!("{ready}, takes no new pods"),
            false => ready.to_owned(),
        },
        text(object, "/status/allocatable/cpu"),
        format!("{:.1} GiB", bytes / 1_073_741_824.0),
    ]])
}

pub fn deployment(object: &DynamicObject) -> Rows {
    workload("Deployment", object, "/spec/template", scaled(object))
}

pub fn stateful_set(object: &DynamicObject) -> Rows {
    workload("StatefulSet", object, "/spec/template", scaled(object))
}

pub fn daemon_set(object: &DynamicObject) -> Rows {
    let ready = text_or(object, "/status/numberReady", "0");
    let wanted = text_or(object, "/status/desiredNumberScheduled", "0");
    workload("DaemonSet", object, "/spec/template", (ready, wanted))
}

pub fn job(object: &DynamicObject) -> Rows {
    let done = format!("{} done", text_or(object, "/status/succeeded", "0"));
    let wanted = text_or(object, "/spec/completions", "1");
    workload("Job", object, "/spec/template", (done, wanted))
}

pub fn cron_job(object: &DynamicObject) -> Rows {
    let active = at(object, "/status/active").and_then(Value::as_array);
    let run = format!("{} run", active.map_or(0, Vec::len));
    let schedule = text(object, "/spec/schedule");
    let template = "/spec/jobTemplate/spec/template";
    workload("CronJob", object, template, (run, schedule))
}

/// A pod with the node that has it, and the digests of what it runs: names of images may mean others by now.
pub fn pod(object: &DynamicObject) -> Rows {
    let image = |one: &Value| {
        let id = word(&one["imageID"]);
        // What stands before is the runtime's name.
        let digest = id.split_once("://").map(|(_, digest)| digest.to_owned());
        digest.unwrap_or(id)
    };
    let ready = if is_ready(object) { "yes" } else { "no" };
    Some(vec![vec![
        object.name_any(),
        text(object, "/spec/nodeName"),
        ready.to_owned(),
        each(object, "/status/containerStatuses", image),
    ]])
}

pub fn service(object: &DynamicObject) -> Rows {
    let ports = each(object, "/spec/ports", |port| {
        format!("{}/{}", word(&port["port"]), word(&port["protocol"]))
    });
    let address = match text(object, "/spec/externalName") {
        name if name.is_empty() => text(object, "/spec/clusterIP"),
        name => name,
    };
    Some(vec![vec![
        object.name_any(),
        text(object, "/spec/type"),
        address,
        ports,
        labels(at(object, "/spec/selector")),
    ]])
}

pub fn ingress(object: &DynamicObject) -> Rows {
    let host = |rule: &Value| match word(&rule["host"]) {
        host if host.is_empty() => "all".to_owned(),
        host => host,
    };
    Some(vec![vec![
        object.name_any(),
        text(object, "/spec/ingressClassName"),
        each(object, "/spec/rules", host),
        each(object, "/spec/tls", |tls| word(&tls["secretName"])),
    ]])
}

pub fn http_route(object: &DynamicObject) -> Rows {
    let backend = |one: &Value| {
        let weight = one["weight"].as_u64().unwrap_or(1);
        format!("{} (weight {weight})", word(&one["name"]))
    };
    let rules = at(object, "/spec/rules").and_then(Value::as_array);
    let backends = rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["backendRefs"].as_array())
        .flatten();
    Some(vec![vec![
        object.name_any(),
        each(object, "/spec/hostnames", word),
        each(object, "/spec/parentRefs", |parent| word(&parent["name"])),
        backends.map(backend).collect::<Vec<_>>().join(", "),
    ]])
}

pub fn budget(object: &DynamicObject) -> Rows {
    Some(vec![vec![
        object.name_any(),
        text(object, "/spec/minAvailable"),
        text(object, "/spec/maxUnavailable"),
        text(object, "/status/disruptionsAllowed"),
    ]])
}

pub fn autoscaler(object: &DynamicObject) -> Rows {
    let (kind, name) = (
        text(object, "/spec/scaleTargetRef/kind"),
        text(object, "/spec/scaleTargetRef/name"),
    );
    Some(vec![vec![
        object.name_any(),
        format!("{kind} {name}"),
        text_or(object, "/spec/minReplicas", "1"),
        text(object, "/spec/maxReplicas"),
        text(object, "/status/currentReplicas"),
    ]])
}

/// A row for each thing that the quota is of.
pub fn quota(object: &DynamicObject) -> Rows {
    let hard = at(object, "/status/hard").or_else(|| at(object, "/spec/hard"));
    let hard = hard.and_then(Value::as_object);
    let used = at(object, "/status/used");
    let rows = hard.into_iter().flatten().map(|(what, allowed)| {
        let used = used.and_then(|used| used.get(what));
        let used = used.map_or_else(|| "not counted yet".to_owned(), word);
        vec![object.name_any(), what.clone(), word(allowed), used]
    });
    Some(rows.collect())
}

pub fn claim(object: &DynamicObject) -> Rows {
    Some(vec![vec![
        object.name_any(),
        text(object, "/status/phase"),
        text(object, "/spec/resources/requests/storage"),
        text(object, "/spec/storageClassName"),
        text(object, "/spec/volumeName"),
    ]])
}

pub fn storage_class(object: &DynamicObject) -> Rows {
    // The second is how older clusters say it.
    let marks = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ];
    let said = |mark: &&str| object.annotations().get(*mark).map(String::as_str) == Some("true");
    let is_default = marks.iter().any(said);
    Some(vec![vec![
        object.name_any(),
        text(object, "/provisioner"),
        if is_default { "yes" } else { "no" }.to_owned(),
        text(object, "/reclaimPolicy"),
        text(object, "/volumeBindingMode"),
    ]])
}

/// Returns what a selector or a set of labels names: `app=shop, tier in (a b)`.
pub fn labels(set: Option<&Value>) -> String {
    let mut words = Vec::new();
    for (key, value) in set.and_then(Value::as_object).into_iter().flatten() {
        words.push(format!("{key}={}", word(value)));
    }
    words.join(", ")
}

/// Returns a value as one word; nothing for what is none.
pub fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(is) => is.to_string(),
        _ => String::new(),
    }
}

/// Returns what stands at a place of an object (RFC 6901), if something does.
pub fn at<'a>(object: &'a DynamicObject, place: &str) -> Option<&'a Value> {
    object.data.pointer(place)
}

fn text(object: &DynamicObject, place: &str) -> String {
    at(object, place).map(word).unwrap_or_default()
}

fn text_or(object: &DynamicObject, place: &str, otherwise: &str) -> String {
    match text(object, place) {
        text if text.is_empty() => otherwise.to_owned(),
        text => text,
    }
}

fn each(object: &DynamicObject, place: &str, words: impl Fn(&Value) -> String) -> String {
    let items = at(object, place).and_then(Value::as_array);
    let words: Vec<String> = items.into_iter().flatten().map(words).collect();
    words.join(", ")
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = at(object, "/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn scaled(object: &DynamicObject) -> (String, String) {
    let ready = text_or(object, "/status/readyReplicas", "0");
    (ready, text_or(object, "/spec/replicas", "1"))
}

fn workload(
    kind: &str,
    object: &DynamicObject,
    template: &str,
    (ready, wanted): (String, String),
) -> Rows {
    let containers = format!("{template}/spec/containers");
    let images = each(object, &containers, |one| word(&one["image"]));
    let manager = object.labels().get("app.kubernetes.io/managed-by");
    Some(vec![vec![
        kind.to_owned(),
        object.name_any(),
        ready,
        wanted,
        images,
        manager.cloned().unwrap_or_default(),
    ]])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        let mut whole = value;
        whole["metadata"] =
            json!({ "name": "one", "labels": { "app.kubernetes.io/managed-by": "helm" } });
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn nodes_and_workloads_are_told_in_a_row() {
        let found = node(&object(json!({
            "spec": { "unschedulable": true },
            "status": {
                "nodeInfo": { "kubeletVersion": "v1.20.2" },
                "conditions": [{ "type": "Ready", "status": "True" }],
                "allocatable": { "cpu": "3920m", "memory": "2Gi" },
            },
        })));
        let expected = [
            "one",
            "v1.20.2",
            "yes, takes no new pods",
            "3920m",
            "2.0 GiB",
        ];
        assert_eq!(found.unwrap()[0], expected);
        let template =
            json!({ "spec": { "containers": [{ "image": "a:1" }, { "image": "b:2" }] } });
        let found = deployment(&object(
            json!({ "spec": { "replicas": 3, "template": template } }),
        ));
        let expected = ["Deployment", "one", "0", "3", "a:1, b:2", "helm"];
        assert_eq!(found.unwrap()[0], expected);
    }

    #[test]
    fn a_quota_that_is_not_counted_yet_says_so() {
        let fresh = quota(&object(json!({ "spec": { "hard": { "pods": "4" } } })));
        assert_eq!(fresh.unwrap(), [["one", "pods", "4", "not counted yet"]]);
        let counted = quota(&object(json!({
            "spec": { "hard": { "pods": "4" } },
            "status": { "hard": { "pods": "4" }, "used": { "pods": "3" } },
        })));
        assert_eq!(counted.unwrap(), [["one", "pods", "4", "3"]]);
    }

    #[test]
    fn a_pod_is_told_with_its_node_and_the_digests_of_what_it_runs() {
        let statuses = json!([
            { "imageID": "docker://sha256:1a2b" },
            { "imageID": "registry.example/shop@sha256:3c4d" },
        ]);
        let running = pod(&object(json!({
            "spec": { "nodeName": "first" },
            "status": {
                "conditions": [{ "type": "Ready", "status": "True" }],
                "containerStatuses": statuses,
            },
        })));
        let images = "sha256:1a2b, registry.example/shop@sha256:3c4d";
        assert_eq!(running.unwrap()[0], ["one", "first", "yes", images]);
        let nowhere = pod(&object(json!({})));
        assert_eq!(nowhere.unwrap()[0], ["one", "", "no", ""]);
    }

    #[test]
    fn a_class_of_storage_is_told_with_whether_it_is_the_default() {
        let class = |mark: &str| {
            let class: DynamicObject = serde_json::from_value(json!({
                "metadata": { "name": "fast", "annotations": { mark: "true" } },
                "provisioner": "example.org/disk", "reclaimPolicy": "Delete",
                "volumeBindingMode": "WaitForFirstConsumer",
            }))
            .unwrap();
            storage_class(&class).unwrap().remove(0)
        };
        let expected = |default| {
            [
                "fast",
                "example.org/disk",
                default,
                "Delete",
                "WaitForFirstConsumer",
            ]
        };
        assert_eq!(
            class("storageclass.kubernetes.io/is-default-class"),
            expected("yes")
        );
        assert_eq!(
            class("storageclass.beta.kubernetes.io/is-default-class"),
            expected("yes")
        );
        assert_eq!(class("example.org/other"), expected("no"));
    }

    #[test]
    fn what_services_and_ingresses_lead_to_is_told() {
        let found = service(&object(json!({ "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.7",
            "ports": [{ "port": 8080, "protocol": "TCP" }], "selector": { "app": "shop" },
        } })));
        let expected = ["one", "ClusterIP", "10.96.0.7", "8080/TCP", "app=shop"];
        assert_eq!(found.unwrap()[0], expected);
        let found = ingress(&object(json!({ "spec": {
            "rules": [{ "host": "shop.example" }, {}], "tls": [{ "secretName": "shop-tls" }],
        } })));
        assert_eq!(
            found.unwrap()[0],
            ["one", "", "shop.example, all", "shop-tls"]
        );
    }
}
