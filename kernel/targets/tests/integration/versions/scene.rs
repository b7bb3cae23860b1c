//! A project in a scratch folder, the server that its cluster is, and what is there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use code_deploy_engine::Spec;
use code_deploy_record::Redactor;
use code_deploy_targets::{KubernetesTarget, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::api_server::{ApiServer, NAMESPACE};

/// How long pods are given to end.
pub const GRACE: Duration = Duration::from_secs(5);

const DEPLOY: &str = "application: shop
release: '1.0.0'
strategy:
  kind: blue-green
  health: { interval: 1s, timeout: 2s, passes: 2, deadline: 60s }
services:
  api:
    role: backend
    probes: { startup: /startupz, readiness: /readyz, liveness: /livez }
    metrics: /metrics
environments:
  dev:
    kubernetes: { namespace: played }
";

const COMPOSE: &str = "services:
  api:
    image: shop/api:${CODE_DEPLOY_RELEASE:-none}
    stop_grace_period: 5s
    expose: ['8080']
";

/// A project that is deployed to a played cluster.
pub struct Scene {
    folder: TempDir,
    pub server: ApiServer,
}

impl Scene {
    /// Sets the scene with a cluster of that version.
    pub async fn of(version: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scene = Self {
            folder,
            server: ApiServer::begin(version).await,
        };
        let user = json!({ "name": "played", "user": {} });
        let cluster = json!({ "name": "played", "cluster": { "server": scene.server.url } });
        let context = json!({ "cluster": "played", "user": "played", "namespace": NAMESPACE });
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "played",
            "users": [user], "clusters": [cluster],
            "contexts": [{ "name": "played", "context": context }],
        });
        scene.write("kubeconfig", &kubeconfig.to_string());
        scene.write("deploy.yaml", DEPLOY);
        scene.write("compose.yaml", COMPOSE);
        scene
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has the deployment file name a manifest.
    pub fn bring(&self, manifest: &Value) {
        self.write("own.yaml", &manifest.to_string());
        let named = DEPLOY.replace(
            "namespace: played",
            "namespace: played, manifests: [own.yaml]",
        );
        self.write("deploy.yaml", &named);
    }

    pub fn target(&self) -> KubernetesTarget {
        let path = self.path("deploy.yaml");
        let kubeconfig = self.path("kubeconfig").display().to_string();
        KubernetesTarget::new(Settings {
            spec: Arc::new(Spec::load(&path, "dev", "k8s", &|_| None).unwrap()),
            program: PathBuf::from(env!("CARGO_BIN_EXE_local-test-program")),
            runtime: self.path("run"),
            lookup: Arc::new(move |name| (name == "KUBECONFIG").then(|| kubeconfig.clone())),
            redactor: Redactor::default(),
        })
    }
}

/// Returns the labels of something of this application, with those on top.
fn labels(part: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = [
        ("app.kubernetes.io/managed-by", "code-deploy"),
        ("code-deploy.application", "shop"),
        ("code-deploy.environment", "dev"),
        ("code-deploy.part", part),
    ];
    let all = own.iter().chain(more);
    all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Returns the Service by which others find the service `api`.
pub fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "api", "labels": labels("service", &[("code-deploy.service", "api")]) },
        "spec": { "ports": [{ "port": 8080 }] },
    })
}

/// Returns something that the user's own manifest has brought, of that kind.
pub fn brought(api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": { "name": "mine", "labels": labels("manifest", &[]) },
    })
}

/// A pod of a release, as newer clusters tell of one: with a sidecar and with the conditions that came since 1.20.
pub struct PlayedPod {
    pub name: &'static str,
    pub release: &'static str,
    pub is_ready: bool,
    /// Whether it was asked to end.
    pub ends: bool,
    /// The states of its own container and of its sidecar.
    pub own: Value,
    pub beside: Value,
    /// How often the sidecar ended.
    pub restarts: u32,
}

impl PlayedPod {
    /// Returns one that is well.
    pub fn well(name: &'static str, release: &'static str) -> Self {
        Self {
            name,
            release,
            is_ready: true,
            ends: false,
            own: json!({ "running": {} }),
            beside: json!({ "running": {} }),
            restarts: 0,
        }
    }

    pub fn object(&self) -> Value {
        let of_release = [
            ("code-deploy.service", "api"),
            ("code-deploy.release", self.release),
        ];
        let status = |is: bool| if is { "True" } else { "False" };
        let condition =
            |kind: &str, is: bool| json!({ "type": kind, "status": status(is), "message": "" });
        let container = |name: &str, state: &Value, restarts: u32| {
            json!({
                "name": name, "image": "i", "imageID": "", "ready": self.is_ready,
                "started": self.is_ready, "restartCount": restarts, "state": state,
                "allocatedResources": { "cpu": "100m" }, "resources": {},
            })
        };
        let deleted = self.ends.then_some("2026-01-01T00:00:00Z");
        let pause = json!({ "preStop": { "sleep": { "seconds": 5 } } });
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "labels": labels("release", &of_release),
                "annotations": { "code-deploy.release": self.release }, "deletionTimestamp": deleted,
            },
            "spec": {
                "terminationGracePeriodSeconds": 30,
                "initContainers": [{ "name": "proxy", "restartPolicy": "Always" }],
                "containers": [{
                    "name": "api", "lifecycle": pause,
                    "resizePolicy": [{ "resourceName": "cpu", "restartPolicy": "NotRequired" }],
                }],
            },
            "status": {
                "phase": "Running", "podIP": "127.0.0.1", "observedGeneration": 1,
                "conditions": [
                    condition("PodReadyToStartContainers", true), condition("Initialized", true),
                    condition("Ready", self.is_ready), condition("ContainersReady", self.is_ready),
                    condition("PodScheduled", true), condition("PodResizeInProgress", false),
                ],
                "containerStatuses": [container("api", &self.own, 0)],
                "initContainerStatuses": [container("proxy", &self.beside, self.restarts)],
            },
        })
    }
}

/// Returns a slice that leads the Service `api` to those pods, with a pod beside them that ends and serves on until
/// then.
pub fn slice(name: &str, pods: &[&str]) -> Value {
    let endpoint = |pod: &str, ready: bool| {
        json!({
            "addresses": ["10.0.0.7"], "targetRef": { "kind": "Pod", "name": pod },
            "conditions": { "ready": ready, "serving": true, "terminating": !ready },
        })
    };
    let mut endpoints: Vec<Value> = pods.iter().map(|pod| endpoint(pod, true)).collect();
    endpoints.push(endpoint("going", false));
    json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": "api" } },
        "addressType": "IPv4", "endpoints": endpoints,
    })
}

/// Returns endpoints that lead the Service `api` to those pods.
pub fn endpoints(pods: &[&str]) -> Value {
    let addresses = pods
        .iter()
        .map(|pod| json!({ "ip": "10.0.0.7", "targetRef": { "kind": "Pod", "name": pod } }));
    json!({
        "metadata": { "name": "api", "labels": labels("service", &[]) },
        "subsets": [{ "addresses": addresses.collect::<Vec<_>>() }],
    })
}
