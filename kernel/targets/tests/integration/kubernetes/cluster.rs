//! The stage's cluster: a namespace for each test, with a project beside it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use code_deploy_engine::Spec;
use code_deploy_engine::target::{ServiceAddress, Shares, Target as _};
use code_deploy_record::Redactor;
use code_deploy_targets::{DockerTarget, KubernetesTarget, Settings};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The variable that promises a cluster to the tests, and names its kubeconfig file.
pub const CLUSTER: &str = "CODE_DEPLOY_STAGE_KUBERNETES";

/// The variable that names the socket at which the cluster is asked for.
const LENDER: &str = "CODE_DEPLOY_STAGE_KUBERNETES_LENDER";

/// The variable that names the engine whose images the node has.
const ENGINE: &str = "CODE_DEPLOY_STAGE_KUBERNETES_DOCKER";

/// How long it may take until the cluster is there.
const LIMIT: Duration = Duration::from_secs(600);

const DEPLOY: &str = "application: APPLICATION
release: '1.0.0'
strategy:
  kind: blue-green
  health: { interval: 1s, timeout: 2s, passes: 2, deadline: 60s }
services:
  api: &service
    role: backend
    probes: { startup: /startupz, readiness: /readyz, liveness: /livez }
    metrics: /file/metrics
  web: *service
environments:
  dev:
    kubernetes: { namespace: APPLICATION }
";

pub const COMPOSE: &str = "services:
  api: &service
    image: IMAGE
    command: ['serve']
    entrypoint: ['/bin/code-deploy']
    environment: { PORT: '8080', BIND: 0.0.0.0, RELEASE: '${CODE_DEPLOY_RELEASE:-none}' }
    stop_grace_period: 5s
    expose: ['8080']
  web:
    <<: *service
";

pub const GRACE: Duration = Duration::from_secs(5);

static STAGES: AtomicU32 = AtomicU32::new(0);

/// A namespace of its own, with a project beside it.
pub struct Stage {
    pub folder: TempDir,
    application: String,
    client: Client,
}

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("a Kubernetes cluster is needed here, and {name} is not set: run `cargo verify --only tests`")
    })
}

/// Asks for the cluster, which then is there until this process ends.
fn borrow() {
    static LENT: OnceLock<BufReader<UnixStream>> = OnceLock::new();
    LENT.get_or_init(|| {
        let asked = UnixStream::connect(variable(LENDER)).unwrap();
        asked.set_read_timeout(Some(LIMIT)).unwrap();
        let mut lent = BufReader::new(asked);
        let mut said = String::new();
        lent.read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "the cluster did not come up");
        lent
    });
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(COMPOSE).await
    }

    pub async fn with(compose: &str) -> Self {
        tokio::task::spawn_blocking(borrow).await.unwrap();
        let folder = tempfile::Builder::new()
            .prefix("k8s-target-")
            .tempdir()
            .unwrap();
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let application = format!("stage-{}-{number}", std::process::id());
        let image = format!("{application}:1");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write("deploy.yaml", DEPLOY.replace("APPLICATION", &application));
        write("compose.yaml", compose.replace("IMAGE", &image));
        let kubeconfig = Kubeconfig::read_from(variable(CLUSTER)).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.unwrap();
        // Of the environment it knows less than the target does.
        config.proxy_url = None;
        let client = Client::try_from(config).unwrap();
        let stage = Self {
            folder,
            application,
            client,
        };
        let engine = DockerTarget::new(stage.settings("docker-desktop"));
        engine.make_demonstration(&[image]).await.unwrap();
        let namespace = json!({ "metadata": { "name": stage.application } });
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        let namespace = serde_json::from_value(namespace).unwrap();
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        stage
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Has the deployment file name manifests, which say this and nothing else. `IMAGE` is that of the services.
    pub fn bring(&self, own: &str) {
        let image = format!("{}:1", self.application);
        let write = |name: &str, text: String| {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        };
        write("own.yaml", own.replace("IMAGE", &image));
        let named = "    kubernetes: { manifests: [own.yaml], namespace";
        let deploy = DEPLOY.replace("    kubernetes: { namespace", named);
        write(
            "deploy.yaml",
            deploy.replace("APPLICATION", &self.application),
        );
    }

    pub fn spec(&self, target: &str) -> Spec {
        let path = self.folder.path().join("deploy.yaml");
        Spec::load(&path, "dev", target, &|_| None).unwrap()
    }

    pub fn settings(&self, target: &str) -> Settings {
        Settings {
            spec: Arc::new(self.spec(target)),
            program: PathBuf::from(env!("CARGO_BIN_EXE_local-test-program")),
            runtime: self.folder.path().join("run"),
            lookup: Arc::new(|name| match name {
                "DOCKER_HOST" => Some(variable(ENGINE)),
                "KUBECONFIG" => Some(variable(CLUSTER)),
                _ => None,
            }),
            redactor: Redactor::default(),
        }
    }

    pub fn target(&self) -> KubernetesTarget {
        KubernetesTarget::new(self.settings("k8s"))
    }

    /// Moves traffic, and waits until every node has followed.
    pub async fn lead(&self, target: &KubernetesTarget, shares: &BTreeMap<String, Shares>) {
        target.set_traffic(shares).await.unwrap();
        tokio::time::sleep(target.unsettled()).await;
    }

    pub fn services(&self) -> Vec<ServiceAddress> {
        let spec = self.spec("k8s");
        let services = spec.services.iter();
        services
            .map(|service| ServiceAddress {
                service: service.name.clone(),
                address: "127.0.0.1:0".parse().unwrap(),
                routing: service.file.routing.clone(),
            })
            .collect()
    }

    pub async fn opened(&self) -> KubernetesTarget {
        let target = self.target();
        target.open(&self.services()).await.unwrap();
        target
    }

    pub fn all<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.application)
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let made = self
            .all::<K>()
            .create(&PostParams::default(), &object)
            .await;
        made.unwrap()
    }

    /// Returns what the target has told of a service, in order: what `kubectl describe` shows.
    pub async fn told_of(&self, service: &str) -> Vec<String> {
        let events = self.all::<Event>().list(&ListParams::default()).await;
        let mut events = events.unwrap().items;
        events.retain(|event| {
            let about = event
                .regarding
                .as_ref()
                .and_then(|object| object.name.as_deref());
            event.reporting_controller.as_deref() == Some("code-deploy") && about == Some(service)
        });
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        let words = |event: Event| {
            let (reason, note) = (event.reason.unwrap(), event.note.unwrap());
            format!("{reason} {note}")
        };
        events.into_iter().map(words).collect()
    }

    /// Removes the namespace with everything in it.
    pub async fn end(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let params = DeleteParams::default();
        namespaces.delete(&self.application, &params).await.unwrap();
    }
}
