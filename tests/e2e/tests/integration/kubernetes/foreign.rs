//! Objects of somebody else, which a deployment leaves as they are.

use serde_json::Value;

use super::cluster::{Image, Namespace};

/// What somebody else has in a namespace, with a pod that runs.
const OBJECTS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: others, labels: { app: others } }
spec:
  selector: { matchLabels: { app: others } }
  template:
    metadata: { labels: { app: others } }
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      containers: [{ name: server, image: 'IMAGE', imagePullPolicy: Never }]
---
apiVersion: v1
kind: Service
metadata: { name: others, labels: { app: others } }
spec: { selector: { app: others }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: others, labels: { app: others } }
data: { key: text }
---
apiVersion: v1
kind: Secret
metadata: { name: others, labels: { app: others } }
stringData: { key: hidden }
";

/// The kinds of what is there then.
const KINDS: &str =
    "deployments.apps,replicasets.apps,pods,poddisruptionbudgets,services,configmaps,secrets";

/// What controllers write into objects on their own, also where nobody changes these: how they are by now, when that
/// was, and with it another version.
const WRITTEN_BY_CONTROLLERS: [&str; 4] =
    ["Deployment", "ReplicaSet", "Pod", "PodDisruptionBudget"];

/// Objects in namespaces, as they were made.
pub struct Foreign<'a> {
    namespaces: [&'a Namespace; 2],
    before: [Vec<Value>; 2],
}

impl<'a> Foreign<'a> {
    /// Makes the objects, and waits until their pods run.
    #[track_caller]
    pub fn make(namespaces: [&'a Namespace; 2], image: &Image) -> Self {
        for namespace in namespaces {
            namespace.apply(&OBJECTS.replace("IMAGE", &image.name));
            // Its version is another one in other clusters.
            let budget = ["create", "poddisruptionbudget", "others"];
            let which = ["--selector=app=others", "--min-available=1"];
            namespace.kubectl(&[&budget[..], &which[..]].concat());
            namespace.kubectl(&["label", "poddisruptionbudget", "others", "app=others"]);
        }
        for namespace in namespaces {
            let deployment = "deployment/others";
            namespace.kubectl(&["rollout", "status", deployment, "--timeout=120s"]);
        }
        let before = namespaces.map(seen);
        for objects in &before {
            assert_eq!(objects.len(), 7, "{objects:?}");
        }
        Self { namespaces, before }
    }

    /// Asserts that they are as they were.
    #[track_caller]
    pub fn are_as_they_were(&self, after: &str) {
        assert_eq!(self.namespaces.map(seen), self.before, "after {after}");
    }
}

/// Returns the objects whole, but for what controllers write of them.
#[track_caller]
fn seen(namespace: &Namespace) -> Vec<Value> {
    let listed = namespace.kubectl(&["get", KINDS, "--selector=app=others", "--output=json"]);
    let mut listed: Value = serde_json::from_str(&listed).unwrap();
    let mut objects = std::mem::take(listed["items"].as_array_mut().unwrap());
    for object in &mut objects {
        let kind = object["kind"].as_str().unwrap();
        if WRITTEN_BY_CONTROLLERS.contains(&kind) {
            object.as_object_mut().unwrap().remove("status");
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
    }
    objects
}
